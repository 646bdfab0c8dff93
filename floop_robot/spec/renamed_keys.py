"""Keys of `floop.yaml` and of recipes that have a new name, so that an older file is refused in one clear line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

RENAMED_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # floop.yaml
        "learner.old_fraction": "learner.prior_fraction",
        "learner.imitation": "learner.imitation_weight",
        "learner.settled_rate": "learner.settled_lr_factor",
        "learner.actor_by_target": "learner.actor_uses_target_critics",
        "gate.old_accept": "gate.regression_accept",
        "gate.old_reject": "gate.regression_reject",
        "gate.max_guard": "gate.max_regression_pairs",
        "gate.rest": "gate.cooldown_share",
        "gate.longest_rest_s": "gate.max_cooldown_s",
        "gate.lesson_s": "gate.warmup_s",
        "rollout": "deploy",
        # recipes
        "randomise": "randomize",
        "sac.imitation": "sac.imitation_weight",
        "sac.settled_rate": "sac.settled_lr_factor",
        "sac.actor_by_target": "sac.actor_uses_target_critics",
        "sac.updates_per_fresh": "sac.updates_per_new",
        "sac.updates_per_old": "sac.updates_per_known",
    }
)
"""Old key → the key that means the same today, both with their section."""


def renamed_keys_in(raw: Any) -> dict[str, str]:
    """The old keys that stand in a file's plain data, each with its new name."""
    return {old: new for old, new in RENAMED_KEYS.items() if _has(raw, old.split("."))}


def _has(raw: Any, path: list[str]) -> bool:
    first, *rest = path
    if not isinstance(raw, dict) or first not in raw:
        return False
    return not rest or _has(raw[first], rest)
