"""Recipes: a file, `--set` and options, laid over one another field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.yaml_file import convert, fields_of, load_yaml, parse_yaml
from floop_robot.train.train_config import TrainConfig

Layer = dict[str, Any]
"""Part of a recipe as plain data."""


def _paths(kind: type[msgspec.Struct], prefix: str = "") -> list[str]:
    """All fields, those of sections with a dot: `seed`, `sac.gamma`."""
    paths: list[str] = []
    for field in msgspec.structs.fields(kind):
        paths.append(prefix + field.name)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            paths += _paths(field.type, f"{prefix}{field.name}.")
    return paths


FIELDS: Final = tuple(_paths(TrainConfig))
"""Every field that `--set` takes."""


def read_recipe(path: Path) -> Layer:
    """A recipe file; raises `ConfigError` when a field is unknown or wrong."""
    raw = load_yaml(path)
    return _checked({} if raw is None else raw, str(path))


def parse_changes(changes: Sequence[str]) -> Layer:
    """Changes of the form `sac.gamma=0.99`, whose values are YAML; raises `ConfigError` for a wrong one."""
    layer: Layer = {}
    names = [change.partition("=")[0] for change in changes]
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"--set {change} has no value; write --set FIELD=VALUE, such as --set sac.gamma=0.99")
        if name not in FIELDS:
            raise UnknownName("field", name, FIELDS, "--set")
        if names.count(name) > 1:
            raise ConfigError(f"--set {name} is there twice; leave out one")
        value = parse_yaml(text, f"--set {change}")
        for part in reversed(name.split(".")):
            value = {part: value}
        layer = laid_over(value, layer)
    return _checked(layer, "--set")


def _checked(raw: Any, where: str) -> Layer:
    fields_of(raw, TrainConfig, where).check()
    layer: Layer = raw
    return layer


def laid_over(over: Mapping[str, Any], under: Mapping[str, Any]) -> Layer:
    """Both, `over` first where both say something; sections are laid over one another."""
    out = dict(under)
    for name, value in over.items():
        below = out.get(name)
        is_section = isinstance(value, Mapping) and isinstance(below, Mapping)
        out[name] = laid_over(value, below) if is_section and below is not None else value
    return out


def config_of(*layers: Layer) -> TrainConfig:
    """The configuration of layers, of which each was checked, the lowest first; raises `ConfigError`."""
    layer: Layer = {}
    for over in layers:
        layer = laid_over(over, layer)
    if layer.get("env") and layer.get("task"):
        raise ConfigError(f"task is {layer['task']} and env is {layer['env']}; leave out one of them")
    return convert(layer, TrainConfig, "the recipe")
