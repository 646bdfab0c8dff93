"""Write docs/reference/, the picture of the rooms and a table of the changelog: `make docs`; --check only compares.

Tables come from msgspec structs: types, ranges and defaults from the annotations, meanings from the docstrings below
the fields. Command lines come from click's own help.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import rooms
from msgspec import inspect as types

from floop_robot.spec.config import FloopConfig
from floop_robot.spec.default_settings import ENV_PPO, ENV_SAC, FLEET_PPO, FLEET_SAC, TASK_PPO, TASK_SAC
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.spec.quantities import QUANTITIES
from floop_robot.spec.renamed_keys import RENAMED_KEYS

ROOT = Path(__file__).parents[1]
KEY_TABLE = re.compile(r"(\| old key \| new key \|\n\|---\|---\|\n)(?:\|.*\n)+")
"""The table of renamed keys in the changelog."""
NOTE = "<!-- Made by `make docs` (docs/generate.py). Change the docstrings in the code, not this page. -->"
STRUCT_PAGES = {
    "floop_yaml.md": (
        "floop_robot.spec.config.FloopConfig",
        "floop.yaml",
        "The configuration of a fleet. `floop up --config FILE` and the launch files (`config:=FILE`) read it. Each\n"
        "run leaves one. Every key may be left out. An unknown key is refused, with the nearest valid one.",
    ),
    "recipes.md": (
        "floop_robot.train.train_config.TrainConfig",
        "recipes",
        "A recipe is a YAML file for `floop train --recipe FILE`. Every key may be left out. Options on the command\n"
        "line override it. An unknown key is refused, with the nearest valid one.",
    ),
    "robot_yaml.md": (
        "floop_robot.spec.robot_model.RobotModel",
        "robot models",
        "A robot model is a YAML file beside its URDF, as in `config/robots/`. The key `robot.model` of floop.yaml\n"
        "names it: the name of a shipped one, or the path of your own. `floop check robot FILE` names each wrong\n"
        "field.",
    ),
    "driver_yaml.md": (
        "floop_robot.spec.driver_config.DriverConfig",
        "driver files",
        "A driver file says which topics and controllers an arm's ROS driver has, as in `config/drivers/`. The\n"
        "parameter `driver` of the nodes names it: the name of a shipped one, or the path of your own.\n"
        "`floop check driver FILE --robot NAME` names each wrong field.",
    ),
}
"""File name → struct, title and first lines of the page."""
LAYERS = {SacSettings: (TASK_SAC, ENV_SAC, FLEET_SAC), PpoSettings: (TASK_PPO, ENV_PPO, FLEET_PPO)}
"""Default settings: for floop's tasks, for any environment, and what a fleet sets in another way."""
CHECKED_PAGES = ("robot_yaml.md", "driver_yaml.md")
"""Pages of descriptions whose numbers must be plausible."""


def pages() -> Iterator[tuple[str, str]]:
    """Path and text of every file that is made here."""
    for name, (path, title, intro) in STRUCT_PAGES.items():
        module, _, struct = path.rpartition(".")
        kind = getattr(importlib.import_module(module), struct)
        ranges = _plausible() if name in CHECKED_PAGES else ()
        tables = _sections(kind, "", of_fleet=kind is FloopConfig)
        text = "\n\n".join([f"# Reference: {title}", intro, NOTE, *tables, *ranges]) + "\n"
        yield f"docs/reference/{name}", text
    yield "docs/reference/commands.md", _commands()
    yield "docs/images/rooms.svg", rooms.svg()
    yield "CHANGELOG.md", _changelog()


def _plausible() -> Iterator[str]:
    yield "## What is plausible"
    yield (
        "A number is refused outside the range of its quantity, which the end of the key's name tells. `floop check`\n"
        "names degrees and millimetres as such."
    )
    rows = ["| key ends with | from | to | unit |", "|---|---|---|---|"]
    rows += [f"| `{end}` | {q.low:.4g} | {q.high:.4g} | {q.unit} |" for end, q in QUANTITIES.items()]
    yield "\n".join(rows)


def _sections(kind: type[msgspec.Struct], prefix: str, *, of_fleet: bool) -> Iterator[str]:
    """A table for the struct, then one for each struct inside it."""
    docs, nested = _field_docs(kind), []
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    for field in info.fields:
        inner = _struct_in(field.type)
        if inner is not None:
            nested.append((f"{prefix}{field.encode_name}", inner))
        link = f"[below](#{prefix.replace('.', '')}{field.encode_name})" if inner else _type_text(field.type)
        link = f"name: {link}" if inner and isinstance(field.type, types.DictType) else link
        cells = (f"`{field.encode_name}`", link, _default(field, inner, kind, of_fleet), docs.get(field.name, ""))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    yield "\n".join(rows)
    for path, inner in nested:
        yield f"## `{path}`"
        yield inspect.getdoc(inner) or ""
        yield from _sections(inner, f"{path}.", of_fleet=of_fleet)


def _struct_in(kind: types.Type) -> type[msgspec.Struct] | None:
    if isinstance(kind, types.StructType):
        return kind.cls
    if isinstance(kind, types.DictType):
        return _struct_in(kind.value_type)
    if isinstance(kind, types.UnionType):
        return next((inner.cls for inner in kind.types if isinstance(inner, types.StructType)), None)
    return None


def _field_docs(kind: type) -> dict[str, str]:
    """Docstrings below the fields of a class and its bases, each as one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if base in (object, msgspec.Struct) or not issubclass(base, msgspec.Struct):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, doc in zip(tree.body, tree.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant) and isinstance(doc.value.value, str):
                found[field.target.id] = " ".join(doc.value.value.split())
    return found


def _default(field: types.Field, inner: type | None, kind: type[msgspec.Struct], of_fleet: bool) -> str:
    if field.required:
        return "required"
    if field.default is field.default_factory:  # both are missing: it is unset
        return _layered_default(field.name, kind, of_fleet)
    if inner is not None and field.default is msgspec.NODEFAULT:
        return ""
    return _shown(field.default if field.default is not msgspec.NODEFAULT else field.default_factory())


def _layered_default(name: str, kind: type[msgspec.Struct], of_fleet: bool) -> str:
    """The default of a hyper-parameter: of a fleet, or of floop's tasks and of any other environment."""
    if kind not in LAYERS:
        return ""
    task, env, fleet = LAYERS[kind]
    if of_fleet:
        return "as trained" if name in fleet.unset else _shown(getattr(fleet, name))
    values = [_shown(getattr(layer, name)) for layer in (task, env)]
    return values[0] if values[0] == values[1] else f"{values[0]}; with `env` {values[1]}"


def _shown(value: object) -> str:
    return f"`{msgspec.json.encode(msgspec.to_builtins(value)).decode()}`"


def _type_text(kind: types.Type) -> str:
    """What a user may write, in words."""
    match kind:
        case types.BoolType():
            return "`true` or `false`"
        case types.IntType():
            return "integer" + _range_text(kind)
        case types.FloatType():
            return "number" + _range_text(kind)
        case types.StrType():
            return "text"
        case types.NoneType():
            return "`null`"
        case types.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in values)
        case types.EnumType(cls=cls):
            return " or ".join(f"`{member.value}`" for member in cls)
        case types.UnionType(types=options):
            return " or ".join(_type_text(option) for option in options)
        case types.TupleType(item_types=items):
            return f"list of {len(items)}: {_type_text(items[0])}"
        case types.VarTupleType(item_type=item) | types.ListType(item_type=item):
            return f"list of: {_type_text(item)}"
        case types.DictType(value_type=value):
            return f"name: {_type_text(value)}"
        case types.Metadata(type=inner):
            return _type_text(inner)
        case types.CustomType(cls=cls):
            return str(cls.__name__)
    return type(kind).__name__


def _range_text(kind: types.IntType | types.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {kind.ge:g} to {kind.le:g}"
    bounds = (("≥", kind.ge), (">", kind.gt), ("≤", kind.le), ("<", kind.lt))
    parts = [f"{sign} {value:g}" for sign, value in bounds if value is not None]
    return f" {', '.join(parts)}" if parts else ""


def _commands() -> str:
    from floop_robot.cli.main import COMMANDS, cli

    parent = click.Context(cli, info_name="floop", help_option_names=["-h", "--help"])
    parts = ["# Reference: commands", "Each command prints its page with `--help`.", NOTE]
    for name in sorted(COMMANDS):
        command = cli.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, terminal_width=110)
        parts += [f"## floop {name}", f"```text\n{command.get_help(context)}\n```"]
        for word, inner in command.commands.items() if isinstance(command, click.Group) else ():
            inside = click.Context(inner, info_name=word, parent=context, terminal_width=110)
            parts += [f"### floop {name} {word}", f"```text\n{inner.get_help(inside)}\n```"]
    return "\n\n".join(parts) + "\n"


def _changelog() -> str:
    rows = "".join(f"| `{old}` | `{new}` |\n" for old, new in RENAMED_KEYS.items())
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return KEY_TABLE.sub(lambda match: match[1] + rows, text)


def main(arguments: list[str]) -> int:
    """Write the pages, or name those that are not current."""
    stale = []
    for name, text in pages():
        path = ROOT / name
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    if "--check" in arguments and stale:
        print(f"not current: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
