"""Seeds of scenarios: each purpose has its own range, so that nothing is tested on training data."""

from __future__ import annotations

import enum

import numpy as np

from floop_robot.core import ScenarioSource
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.scenario import Scenario

_RUNS = 10_000
_PER_RUN = 1_000_000
_BEYOND = 8 * _RUNS * _PER_RUN
"""Seeds of runs from `_RUNS` on begin here: the numbers of those before never change."""
MAX_RUN_SEED = 2**32 - 1
"""As far as numpy's and torch's generators go."""


class Purpose(enum.IntEnum):
    """What an episode is for. Each purpose has seeds of its own; the numbers never change."""

    TRAINING = 0
    DEMONSTRATION = 1
    EXPLORER = 2
    ROBOT = 3
    SELECTION = 4
    """To choose checkpoints while training."""
    GATE = 5
    REPORT = 6
    """For final results: used once, after all choices."""
    VALIDATION = 7
    """For a person to measure policies on, as often as they like."""


def seed_of(purpose: Purpose, run_seed: int, index: int) -> int:
    """Scenario seed number `index` of a run; raises `ConfigError` outside the range of the purpose."""
    if not 0 <= run_seed <= MAX_RUN_SEED:
        raise ConfigError(f"seed is {run_seed}; use a seed from 0 to {MAX_RUN_SEED}")
    if not 0 <= index < _PER_RUN:
        raise ConfigError(f"a run has {_PER_RUN} episodes of each purpose, and number {index} was asked for; end it")
    if run_seed >= _RUNS:
        return _BEYOND + (int(purpose) * (MAX_RUN_SEED + 1) + run_seed) * _PER_RUN + index
    return (int(purpose) * _RUNS + run_seed) * _PER_RUN + index


def scenario_of(source: ScenarioSource, seed: int) -> Scenario:
    """The scenario that `source` draws for a seed: the same on every host."""
    return source.sample(np.random.default_rng(seed))


def scenarios_of(source: ScenarioSource, purpose: Purpose, run_seed: int, count: int, first: int = 0) -> list[Scenario]:
    """`count` scenarios of one purpose and run, from index `first` on."""
    return [scenario_of(source, seed_of(purpose, run_seed, first + i)) for i in range(count)]
