"""Endurance: kill the processes of a running fleet one after another, and see when each is back at work.

Back at work means that the new process does its job, not that it exists; what that is for each kind says `AT_WORK`.
It is seen from outside, in figures that processes write every half second, so the times are that much too long.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from floop_robot.demo.snapshot import RobotView, Snapshot, SnapshotReader
from floop_robot.services.supervision.stats_file import WRITE_INTERVAL_S
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.errors import FloopError

RESUME_TIMEOUT_S = 60.0
"""A process that is not back by then counts as lost."""
_POLL_S = 0.1
AT_WORK: Mapping[str, str] = MappingProxyType(
    {
        "policy": "the new process has executed policy steps, recorded as transitions",
        "safety": "the new servo loop runs and its robot executes further policy steps through it",
        "sim_robot": "the new driver runs and its robot executes further policy steps on it",
        "ingest": "robots hear of further records that are safe on its disk",
        "learner": "the new process has done gradient steps, from its checkpoint and the journal",
        "gate": "the new process knows its incumbent again and its workers have finished an episode",
        "explorer": "the new process has recorded transitions on live weights",
        "fleet_manager": "it answers under a new epoch and has heard every robot",
    }
)
"""Kind of process → when a killed one counts as back."""


class KillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ledger."""

    name: str
    kind: str
    pid: int
    resumed_s: float
    """From SIGKILL until it did its job again."""
    others_steps_per_s: float
    """Policy steps of an average robot that was not hit, meanwhile."""


def kind_of(name: str) -> str:
    """Kind of the process called `name`."""
    part = name.rpartition(".")[2]
    return "explorer" if part.startswith("explorer_") else part


class AckLedger:
    """The highest record of each stream that a robot was ever told is safe."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str], int] = {}

    def note(self, snapshot: Snapshot) -> None:
        """Take in what robots show."""
        for robot in snapshot.robots:
            for boot in robot.policy:
                key = robot.name, boot.boot_id
                self._highest[key] = max(self._highest.get(key, 0), boot.stream.sender.acked_seq)

    @property
    def records(self) -> int:
        """How many records were promised."""
        return sum(self._highest.values())

    def missing(self, marks: Mapping[tuple[str, str], int]) -> int:
        """Promised records beyond what the journal holds of each stream (its marks)."""
        return sum(max(0, acked - marks.get(key, 0)) for key, acked in self._highest.items())


class ChaosRunner:
    """Kills one process at a time and waits for its successor; for one thread."""

    def __init__(self, fleet: Supervisor, snapshots: SnapshotReader) -> None:
        self._fleet, self._snapshots = fleet, snapshots
        self.acks = AckLedger()

    def look(self) -> Snapshot:
        """See the fleet as it is; raises `FloopError` when a process gave up."""
        for name, line in self._fleet.given_up.items():
            raise FloopError(f"{name} gave up: {line}")
        snapshot = self._snapshots.take()
        self.acks.note(snapshot)
        return snapshot

    def kill(self, name: str) -> KillRecord:
        """SIGKILL a process and wait until its successor does its job; raises `FloopError` when it does not."""
        pid = self._fleet.pid(name)
        if pid is None:
            raise FloopError(f"{name} is not running; it cannot be killed")
        first = before = self.look()
        os.kill(pid, signal.SIGKILL)
        start = time.monotonic()
        while (passed := time.monotonic() - start) < RESUME_TIMEOUT_S:
            time.sleep(_POLL_S)
            now = self.look()
            if passed < 1.5 * WRITE_INTERVAL_S:
                before = now  # such figures may speak of what was done before the kill
            elif self._fleet.pid(name) not in (None, pid) and _is_back(name, first, before, now):
                took = time.monotonic() - start
                rate = steps_per_s(first, now, took, but=name.rpartition(".")[0])
                return KillRecord(name=name, kind=kind_of(name), pid=pid, resumed_s=took, others_steps_per_s=rate)
        raise FloopError(
            f"{name} did not resume within {RESUME_TIMEOUT_S:.0f} s after SIGKILL; see {self._fleet.log(name)}"
        )


def steps_per_s(before: Snapshot, now: Snapshot, elapsed_s: float, but: str = "") -> float:
    """Policy steps per second of an average robot except `but`, in the `elapsed_s` between two snapshots."""
    robots = [(a, b) for a, b in zip(before.robots, now.robots, strict=True) if a.name != but]
    done = sum(_steps(b) - _steps(a) for a, b in robots)
    return done / len(robots) / elapsed_s if robots else float("nan")


def is_at_work(snapshot: Snapshot) -> bool:
    """Whether every process has begun to do its job."""
    fleet, learner, gate = snapshot.fleet, snapshot.learner, snapshot.gate
    return (
        all(r.episodes and r.safety and r.driver for r in snapshot.robots)
        and all(e.boots and e.boots[-1].transitions for e in snapshot.explorers)
        and _acked(snapshot) > 0
        and fleet is not None
        and learner is not None
        and learner.steps_per_s > 0
        and gate is not None
        and gate.episodes > 0
    )


def _is_back(name: str, first: Snapshot, before: Snapshot, now: Snapshot) -> bool:
    """`first`: before the kill; `before`: when all figures of before the kill had been written."""
    kind, robot = kind_of(name), name.rpartition(".")[0]
    if robot:
        return _robot_is_back(kind, _view(first, robot), _view(before, robot), _view(now, robot))
    checks: dict[str, Callable[[], bool]] = {
        "ingest": lambda: _acked(now) > _acked(before),
        "learner": lambda: _learner_is_back(first, now),
        "gate": lambda: _gate_is_back(first, now),
        "explorer": lambda: _explorer_is_back(name, first, now),
        "fleet_manager": lambda: _manager_is_back(first, now),
    }
    return checks[kind]()


def _robot_is_back(kind: str, first: RobotView, before: RobotView, now: RobotView) -> bool:
    if kind == "policy":
        return len(now.policy) > len(first.policy) and now.policy[-1].policy.transitions > 0
    boots = len(now.safety) > len(first.safety) if kind == "safety" else len(now.driver) > len(first.driver)
    return boots and _steps(now) > _steps(before)


def _learner_is_back(first: Snapshot, now: Snapshot) -> bool:
    return now.learner_boots > first.learner_boots and now.learner is not None and now.learner.steps_per_s > 0


def _gate_is_back(first: Snapshot, now: Snapshot) -> bool:
    gate = now.gate
    return now.gate_boots > first.gate_boots and gate is not None and gate.incumbent > 0 and gate.episodes > 0


def _explorer_is_back(name: str, first: Snapshot, now: Snapshot) -> bool:
    old, new = (next(e for e in s.explorers if e.name == name) for s in (first, now))
    return len(new.boots) > len(old.boots) and new.boots[-1].transitions > 0


def _manager_is_back(first: Snapshot, now: Snapshot) -> bool:
    if now.fleet is None or first.fleet is None:
        return False
    return now.fleet.epoch > first.fleet.epoch and all(r.silent_s < RESUME_TIMEOUT_S for r in now.fleet.robots)


def _view(snapshot: Snapshot, name: str) -> RobotView:
    return next(robot for robot in snapshot.robots if robot.name == name)


def _steps(robot: RobotView) -> int:
    return sum(boot.policy.transitions for boot in robot.policy)


def _acked(snapshot: Snapshot) -> int:
    return sum(boot.stream.sender.acked for robot in snapshot.robots for boot in robot.policy)
