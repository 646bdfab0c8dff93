"""Which settings act in a training on images, where stable-baselines3 makes the updates."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from floop_robot.spec.default_settings import ENV_PPO, ENV_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.train.train_config import TrainConfig

UNUSED: Final = ("select_every", "checkpoint_interval_s", "prior_rows")
UNUSED_OF_ALGORITHM: Final = {
    "sac": (
        "value_range",
        "reward_scale",
        "average_steps",
        "prior_fraction",
        "rare_fraction",
        "imitation_weight",
        "actor_uses_target_critics",
        "settled_lr_factor",
        "utd_ratio_known",
    ),
    "ppo": ("value_warmup_updates", "max_policy_lag", "imitation_utd_ratio", "imitation_learning_rate"),
}


def image_recipe(config: TrainConfig) -> dict[str, Any]:
    """The effective `config` as a recipe of what acts; raises `ConfigError` for a field that somebody set in vain."""
    algo = config.algo
    plain, of_algorithm = TrainConfig(), ENV_PPO if algo == "ppo" else ENV_SAC
    for name in UNUSED:
        _require_unset(name, getattr(config, name), getattr(plain, name), algo)
    for name in UNUSED_OF_ALGORITHM[algo]:
        _require_unset(f"{algo}.{name}", getattr(config.settings, name), getattr(of_algorithm, name), algo)
    recipe: dict[str, Any] = msgspec.to_builtins(config)
    acting = {name: value for name, value in recipe.items() if name not in UNUSED}
    acting[algo] = {name: value for name, value in recipe[algo].items() if name not in UNUSED_OF_ALGORITHM[algo]}
    return acting


def _require_unset(name: str, value: object, default: object, algo: str) -> None:
    if value != default:
        raise ConfigError(
            f"{name} is {value}, but does not act on images, where stable-baselines3's own {algo.upper()} learns; "
            "leave it out"
        )
