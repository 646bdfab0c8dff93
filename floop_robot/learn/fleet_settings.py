"""The hyper-parameters that a fleet's learner acts with, and where they differ from what the policy was trained with.

What `floop.yaml` says comes first, then what the checkpoint carries. A fleet that takes over a training sets a
few in its own way (`FLEET_SAC`). A learner that resumes its own checkpoint keeps what it had.
"""

from __future__ import annotations

from typing import Any

import msgspec

from floop_robot.learn.checkpoint import CheckpointInfo
from floop_robot.spec.config import LearnerConfig
from floop_robot.spec.default_settings import FLEET_PPO, FLEET_SAC, TASK_PPO, TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import AlgorithmSettings, CarriedSettings, PpoSettings, SacSettings
from floop_robot.spec.yaml_file import convert


class FleetSettings(msgspec.Struct, frozen=True):
    """Complete settings, and one line that tells where they come from."""

    settings: AlgorithmSettings
    told: str


def fleet_settings(learner: LearnerConfig, info: CheckpointInfo, where: str, *, resume: bool) -> FleetSettings:
    """What a learner that starts from a checkpoint acts with; `where`: the checkpoint, for texts.

    Raises `ConfigError` when the checkpoint carries unknown fields, lacks some, or has networks of another shape.
    """
    said, name = learner.settings, f"learner.{learner.algo}"
    if said.net_arch not in (msgspec.UNSET, info.hidden):
        raise ConfigError(
            f"{name}.net_arch is {list(said.net_arch)}, but the checkpoint has {list(info.hidden)}; leave it out, or "
            "train a baseline with it"
        )
    carried = carried_settings(info.settings, learner.algo, f"settings of {where}")
    source = "as it carries them"
    if not info.settings:
        carried = msgspec.structs.replace(default_settings(learner.algo), net_arch=info.hidden)
        source = "it carries none, so the defaults of floop's own tasks (docs/reference/recipes.md)"
    own: AlgorithmSettings = type(carried)()
    if not (resume and info.settings):
        own = FLEET_SAC if isinstance(carried, SacSettings) else FLEET_PPO
    settings = _laid(said, _laid(own, carried))
    if settings.unset:
        lacking = ", ".join(f"{name}.{field}" for field in settings.unset)
        raise ConfigError(f"settings of {where} are not complete; set {lacking} in floop.yaml, or train again")
    changes = {
        "floop.yaml": _changes(carried, settings, said),
        "a fleet": _changes(carried, settings, own, except_for=said),
    }
    told = [f"{who} changes {', '.join(found)}" for who, found in changes.items() if found]
    return FleetSettings(settings, "; ".join([f"settings of {where}: {source}", *told]))


def default_settings(algo: str) -> AlgorithmSettings:
    """The defaults of floop's own tasks."""
    return TASK_PPO if algo == "ppo" else TASK_SAC


def carried_settings(raw: CarriedSettings, algo: str, where: str) -> AlgorithmSettings:
    """Settings as a file carries them; raises `ConfigError` for an unknown field or a wrong value."""
    return convert(raw, PpoSettings, where) if algo == "ppo" else convert(raw, SacSettings, where)


def _laid(over: AlgorithmSettings, under: AlgorithmSettings) -> AlgorithmSettings:
    if isinstance(over, PpoSettings):
        assert isinstance(under, PpoSettings)
        return over.over(under)
    assert isinstance(under, SacSettings)
    return over.over(under)


def _changes(
    before: AlgorithmSettings,
    after: AlgorithmSettings,
    by: AlgorithmSettings,
    except_for: AlgorithmSettings | None = None,
) -> list[str]:
    """`field: old -> new` of each field that `by` sets and that is another one after it than before."""
    names = [name for name in by.__struct_fields__ if name not in by.unset]
    if except_for is not None:
        names = [name for name in names if name in except_for.unset]
    old, new = msgspec.structs.asdict(before), msgspec.structs.asdict(after)
    return [f"{name}: {_shown(old[name])} -> {_shown(new[name])}" for name in names if old[name] != new[name]]


def _shown(value: Any) -> str:
    return "unset" if value is msgspec.UNSET else msgspec.json.encode(value).decode()
