"""Which fields do nothing in a training: set in vain they are refused, and the written recipe leaves them out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from floop_robot.spec.default_settings import ENV_PPO, ENV_SAC, TASK_PPO, TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import UNSET
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.training_episode import EnvDescription

OF_TASKS: Final = ("task", "robot", "demonstrations", "episodes_per_batch", "randomize", "clone")
OF_ENVS: Final = ("eval_freq", "n_eval_episodes", "sac.n_sampled_goal")
NOT_ON_IMAGES: Final = ("select_every", "prior_rows")
OF_FLOOP: Final = {
    "sac": (
        "sac.value_range",
        "sac.reward_scale",
        "sac.average_steps",
        "sac.prior_fraction",
        "sac.rare_fraction",
        "sac.imitation_weight",
        "sac.actor_uses_target_critics",
        "sac.settled_lr_factor",
        "sac.utd_ratio_known",
    ),
    "ppo": (
        "learning_starts",
        "ppo.value_warmup_updates",
        "ppo.max_policy_lag",
        "ppo.imitation_utd_ratio",
        "ppo.imitation_learning_rate",
    ),
}
"""What stable-baselines3's own algorithms, which learn from images, don't have."""


def idle_fields(config: TrainConfig, description: EnvDescription | None = None) -> dict[str, str]:
    """Fields and sections that do nothing, and why; `description`: of the environment, once it is known."""
    idle = {"sac" if config.algo == "ppo" else "ppo": f"with algo {config.algo}"}
    if config.env:
        idle |= dict.fromkeys(OF_TASKS, f"with env {config.env}: it is of floop's own tasks")
    else:
        idle |= dict.fromkeys(OF_ENVS, "without env")
        if not config.demonstrations:
            idle["clone"] = "without demonstrations"
    if description is not None and description.needs_cnn:
        why = f"on images, where stable-baselines3's own {config.algo.upper()} learns"
        idle |= dict.fromkeys((*NOT_ON_IMAGES, *OF_FLOOP[config.algo]), why)
    if description is not None and not description.has_goals and config.sac.n_sampled_goal != 0:
        idle["sac.n_sampled_goal"] = "in an environment without goals"
    return idle


def require_acting(config: TrainConfig, idle: Mapping[str, str]) -> None:
    """Raise `ConfigError` for a field that somebody set to another value than its default, and that is idle."""
    defaults = _defaults(config)
    for path, value in _values(msgspec.structs.asdict(config)):
        why = idle.get(path) or idle.get(path.split(".")[0])
        if why and value is not UNSET and value != defaults[path]:
            raise ConfigError(f"{path} is {_shown(value)}, but does nothing {why}; leave it out")


def acting_recipe(config: TrainConfig, idle: Mapping[str, str]) -> dict[str, Any]:
    """The effective `config` as a recipe of what acts."""
    recipe: dict[str, Any] = {}
    for path, value in _values(msgspec.to_builtins(config)):
        section, _, name = path.rpartition(".")
        if path not in idle and section not in idle:
            (recipe.setdefault(section, {}) if section else recipe)[name] = value
    return recipe


def _defaults(config: TrainConfig) -> dict[str, Any]:
    sac, ppo = (ENV_SAC, ENV_PPO) if config.env else (TASK_SAC, TASK_PPO)
    chosen = {"ppo": ppo} if config.algo == "ppo" else {"sac": sac}
    return dict(_values(msgspec.structs.asdict(msgspec.structs.replace(TrainConfig(), **chosen))))


def _values(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field with its value, those of sections with a dot."""
    for name, value in fields.items():
        inner = msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
        if isinstance(inner, dict):
            yield from ((f"{name}.{key}", one) for key, one in inner.items())
        else:
            yield name, value


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode() if not isinstance(value, str) else value
