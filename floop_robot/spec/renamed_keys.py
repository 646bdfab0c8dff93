"""Keys of `floop.yaml` and of recipes that have a new name, so that an older file is refused in one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

RENAMED_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # floop.yaml
        "learner.old_fraction": "learner.sac.prior_fraction",
        "learner.updates_per_transition": "learner.sac.utd_ratio",
        "learner.imitation": "learner.sac.imitation_weight",
        "learner.settled_rate": "learner.sac.settled_lr_factor",
        "learner.actor_by_target": "learner.sac.actor_uses_target_critics",
        "learner.staleness_versions": "learner.ppo.max_policy_lag",
        "gate.old_accept": "gate.regression_accept",
        "gate.old_reject": "gate.regression_reject",
        "gate.max_guard": "gate.max_regression_pairs",
        "gate.rest": "gate.cooldown_share",
        "gate.longest_rest_s": "gate.max_cooldown_s",
        "rollout": "deploy",
        # recipes
        "max_transitions": "total_timesteps",
        "randomise": "randomize",
        "sac.imitation": "sac.imitation_weight",
        "sac.settled_rate": "sac.settled_lr_factor",
        "sac.actor_by_target": "sac.actor_uses_target_critics",
        "sac.updates_per_fresh": "sac.utd_ratio",
        "sac.updates_per_old": "sac.utd_ratio_known",
        "sac.hidden": "sac.net_arch",
        "sac.initial_alpha": "sac.ent_coef (write auto_X for a start value X)",
        "sac.quota": "sac.buffer_size",
        "ppo.hidden": "ppo.net_arch",
        "ppo.rows_per_update": "ppo.n_steps",
        "ppo.epochs": "ppo.n_epochs",
        "ppo.clip": "ppo.clip_range",
        "ppo.entropy_weight": "ppo.ent_coef",
        "ppo.value_weight": "ppo.vf_coef",
        "ppo.log_std": "ppo.log_std_init",
        "clone.epochs": "clone.n_epochs",
    }
)
"""Old key → the key that means the same today, both with their section."""

REMOVED_KEYS: Final[tuple[str, ...]] = ("gate.lesson_s", "gate.warmup_s")
"""Keys that mean nothing any more."""


def removed_keys_in(raw: Any) -> list[str]:
    """The keys in a file's plain data that mean nothing any more."""
    return [key for key in REMOVED_KEYS if _has(raw, key.split("."))]


def renamed_keys_in(raw: Any) -> dict[str, str]:
    """The old keys that stand in a file's plain data, each with its new name."""
    return {old: new for old, new in RENAMED_KEYS.items() if _has(raw, old.split("."))}


def _has(raw: Any, path: list[str]) -> bool:
    first, *rest = path
    if not isinstance(raw, dict) or first not in raw:
        return False
    return not rest or _has(raw[first], rest)
