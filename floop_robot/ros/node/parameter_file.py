"""Files of ROS parameters (`--params-file`), checked before a node starts: ROS ignores what fits no node.

A section is named after a node, `/robot_1/cell_node`, in which `*` stands for one name and `**` for any number of them.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from floop_robot.ros.node.parameters import OF_EVERY_NODE, QOS_OVERRIDES, Parameter
from floop_robot.spec.errors import ConfigError, UnknownName, did_you_mean

PARAMETERS: Final = "ros__parameters"
_ALIKE: Final = 0.8
"""From this similarity on, a node that does not exist is one of ours with a mistake in it."""

Nodes = Mapping[str, Iterable[Parameter[Any]]]
"""Parameters by a node's full name, as `/robot_1/cell_node`."""


class _RosLoader(yaml.SafeLoader):
    """Reads `2e-1` as the number that ROS takes it for; YAML 1.1, as PyYAML has it, takes a text."""


_RosLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)[eE][-+]?\d+\Z", re.ASCII), list("-+.0123456789")
)


def check_parameter_file(path: Path, nodes: Nodes) -> list[str]:
    """Check what a file sets for these nodes; returns a line for each section that is for none of them.

    Raises `ConfigError` or `UnknownName` for a file that can't be read, a name that no such node has, a value that the
    parameter does not take, and a section whose name is almost that of a node.
    """
    notes = []
    for section, given in _sections(_read(path), path):
        found = [name for name in nodes if _matches(section, name)]
        if found:
            _check_section(f"{path}, {section}", given, [parameter for name in found for parameter in nodes[name]])
        elif meant := _meant(section, nodes):
            raise ConfigError(f"{path}: {section} is no node of this fleet; {did_you_mean(section, meant)}")
        else:
            notes.append(f"{path}: {section} is for none of floop's nodes, and sets nothing here")
    return notes


def names_for_several(path: Path) -> set[str]:
    """Names that the file sets in sections for more than one node: not each of them has all."""
    return {name for section, given in _sections(_read(path), path) if "*" in section for name in given}


def parameter_files(argv: Sequence[str]) -> list[Path]:
    """The files of parameters that a node's command line names."""
    return [Path(value) for flag, value in itertools.pairwise(argv) if flag == "--params-file"]


def _read(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _RosLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the parameters in {path}: {error.strerror}; check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _sections(raw: Any, path: Path, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each section's name, with a leading slash, and its parameters."""
    if not isinstance(raw, dict) or not raw:
        where = f"below {prefix}" if prefix else "in it"
        raise ConfigError(f"{path} is no file of ROS parameters: {where} must be node names, then `{PARAMETERS}:`")
    for key, below in raw.items():
        name = f"{prefix}/{str(key).strip('/')}"
        if key == PARAMETERS:
            if not prefix or not isinstance(below, dict):
                cure = f"{PARAMETERS} belongs below a node's name, and holds fields (name: value)"
                raise ConfigError(f"{path}: {prefix or '/'}: {cure}")
            yield prefix, dict(_flat(below))
        elif not isinstance(below, dict):
            close = difflib.get_close_matches(str(key), [PARAMETERS], n=1, cutoff=0.6)
            cure = f"did you mean {PARAMETERS!r}?" if close else f"put parameters below `{PARAMETERS}:`"
            raise ConfigError(f"{path}: {name} is neither a node nor `{PARAMETERS}`; {cure}")
        else:
            yield from _sections(below, path, name)


def _flat(given: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _matches(section: str, node: str) -> bool:
    pattern = re.escape(section).replace(r"/\*\*", r"(/[^/]+)*").replace(r"\*", "[^/]+")
    return re.fullmatch(pattern, node) is not None


def _check_section(where: str, given: Mapping[str, Any], declared: Sequence[Parameter[Any]]) -> None:
    known = {parameter.name: parameter for parameter in declared}
    for name, value in given.items():
        if name in OF_EVERY_NODE or name.startswith(QOS_OVERRIDES):
            continue
        if name not in known:
            raise UnknownName("parameter", name, [*known, *OF_EVERY_NODE], where)
        if refusal := known[name].refusal(value):
            raise ConfigError(f"{where}: {refusal}")


def _meant(section: str, nodes: Nodes) -> list[str]:
    """The nodes that a section for none is likely meant for; empty: it is for another's."""
    own = [name for name in nodes if name.rpartition("/")[2] == section.rpartition("/")[2] and "*" not in section]
    return own or difflib.get_close_matches(section, nodes, n=3, cutoff=_ALIKE)
