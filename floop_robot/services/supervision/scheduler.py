"""Which central process goes first: the one for which the loop waits. Defined in docs/design/processor_time.md."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from floop_robot.services.supervision.stats_file import read_newest_stats

FIRST_SUCCESSES: Final = 30
"""Successes of explorers on a failing class that are enough to learn from; until then, more of them come first."""
FIRST, BESIDE, SECOND, LAST = 0, 3, 5, 10
"""Nice values; 5 more means a third of the processor time where it is short."""


class LoopPhase(enum.StrEnum):
    """What the loop waits for."""

    CALM = "calm"
    """Nothing fails: every process has its configured nice value."""
    FIT = "fit"
    """Known tasks fail on a robot that has no fit: practice and trials of them would use worlds in which they don't."""
    EXPLORE = "explore"
    """A class fails, and explorers have hardly succeeded at it."""
    LEARN = "learn"
    """There is enough to learn from, and no candidate is on trial."""
    JUDGE = "judge"
    """A candidate is on trial; the learner learns meanwhile."""


NICE: Final[Mapping[LoopPhase, Mapping[str, int]]] = MappingProxyType(
    {
        LoopPhase.CALM: {},
        LoopPhase.FIT: {"explorer": LAST, "learner": LAST, "gate": LAST, "fitter": FIRST},
        LoopPhase.EXPLORE: {"explorer": FIRST, "learner": SECOND, "gate": BESIDE, "fitter": FIRST},
        LoopPhase.LEARN: {"explorer": SECOND, "learner": FIRST, "gate": LAST, "fitter": FIRST},
        LoopPhase.JUDGE: {"explorer": SECOND, "learner": BESIDE, "gate": FIRST, "fitter": FIRST},
    }
)
"""Nice value of each kind of process; those that are not named keep their configured one."""


class _TargetView(msgspec.Struct, frozen=True):
    classes: tuple[str, ...] = ()


class _GateView(msgspec.Struct, frozen=True):
    """The fields of `services.gate.GateStats` that decide; that module would load the simulator."""

    busy: bool = False
    target_tasks: _TargetView = _TargetView()


class _FitterView(msgspec.Struct, frozen=True):
    """The same of `fit.fitter.FitterCounts`."""

    awaited: bool = False


class _ExplorerView(msgspec.Struct, frozen=True):
    """The same of `services.explorer.ExplorerStats`."""

    target_successes: dict[str, int] = {}


def phase_of(
    failing: Sequence[str], on_trial: bool, successes: Sequence[Mapping[str, int]], awaits_fit: bool
) -> LoopPhase:
    """What the loop waits for. `successes`: of each explorer, by failing class, since it began to fail."""
    if not failing:
        return LoopPhase.CALM
    if awaits_fit:
        return LoopPhase.FIT
    scarce = any(sum(each.get(name, 0) for each in successes) < FIRST_SUCCESSES for name in failing)
    if scarce and successes:
        return LoopPhase.EXPLORE
    return LoopPhase.JUDGE if on_trial else LoopPhase.LEARN


class Scheduler:
    """Reads the phase from the stats files of a run directory."""

    def __init__(self, run_dir: Path, explorers: Sequence[str]) -> None:
        """`explorers`: names of the explorers' processes."""
        self._run_dir, self._explorers = run_dir, tuple(explorers)

    def phase(self) -> LoopPhase:
        """The present phase; calm while the gate has not reported, or where its figures cannot be read.

        A power cut, or another floop in this folder, may leave such figures. They must not end the supervision.
        """
        gate = read_newest_stats(self._run_dir, "gate", _GateView)
        if gate is None or not gate.target_tasks.classes:
            return LoopPhase.CALM
        found = [read_newest_stats(self._run_dir, name, _ExplorerView) for name in self._explorers]
        successes = [each.target_successes for each in found if each is not None]
        fitter = read_newest_stats(self._run_dir, "fitter", _FitterView)
        return phase_of(gate.target_tasks.classes, gate.busy, successes, fitter is not None and fitter.awaited)
