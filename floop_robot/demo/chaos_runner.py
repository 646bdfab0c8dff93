"""ChaosRunner: kills the processes of a running fleet one by one and measures how soon each is back at work.

A process is back when it does its job again; `AT_WORK` says what that means for each kind.
The runner sees this in the stats files, which are written every half second. Times are too long by up to that much.
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
"""After this time a killed process counts as lost."""
_POLL_S = 0.1
AT_WORK: Mapping[str, str] = MappingProxyType(
    {
        "policy": "the new process has executed policy steps, recorded as transitions",
        "safety": "the new servo loop runs and its robot executes further policy steps through it",
        "sim_robot": "the new driver runs and its robot executes further policy steps on it",
        "ingest": "it acknowledges further records of the robots",
        "learner": "the new process has done gradient steps, from its checkpoint and the journal",
        "gate": "the new process has its incumbent again and its workers have finished an episode",
        "fitter": "the new process has written its figures",
        "explorer": "the new process has recorded transitions on live weights",
        "fleet_manager": "it answers with a new epoch and every robot has reported to it",
    }
)
"""Kind of process → what it must have done to count as back."""


class KillRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One kill and what it cost."""

    name: str
    kind: str
    pid: int
    resumed_s: float
    """Time from SIGKILL until the new process did its job; `RESUME_TIMEOUT_S` and more when it did not."""
    others_steps_per_s: float
    """Policy steps per second of an average robot that was not killed, in that time."""


def kind_of(name: str) -> str:
    """Return the kind of the process called `name`: `policy` for `robot_1.policy`, `explorer` for `explorer_1`."""
    part = name.rpartition(".")[2]
    return "explorer" if part.startswith("explorer_") else part


class AckLedger:
    """The highest acknowledged record of each stream, over all looks at the fleet."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str], int] = {}

    def note(self, snapshot: Snapshot) -> None:
        """Take in the acknowledgements that robots have received."""
        for robot in snapshot.robots:
            for boot in robot.policy:
                key = robot.name, boot.boot_id
                self._highest[key] = max(self._highest.get(key, 0), boot.stream.sender.acked_seq)

    @property
    def records(self) -> int:
        """Number of acknowledged records."""
        return sum(self._highest.values())

    def missing(self, marks: Mapping[tuple[str, str], int]) -> int:
        """Count acknowledged records beyond the journal's high-water mark of each stream."""
        return sum(max(0, acked - marks.get(key, 0)) for key, acked in self._highest.items())


class ChaosRunner:
    """Kills one process at a time and waits until its successor works; for one thread."""

    def __init__(self, fleet: Supervisor, snapshots: SnapshotReader) -> None:
        self._fleet, self._snapshots = fleet, snapshots
        self.acks = AckLedger()

    def look(self) -> Snapshot:
        """Take a snapshot; raises `FloopError` when a process cannot work as configured."""
        for name, line in self._fleet.given_up.items():
            raise FloopError(f"{name} stopped for good: {line}")
        snapshot = self._snapshots.take()
        self.acks.note(snapshot)
        return snapshot

    def kill(self, name: str) -> KillRecord:
        """Send SIGKILL to a process and wait until its successor works, for `RESUME_TIMEOUT_S` at most."""
        pid = self._fleet.pid(name)
        if pid is None:
            raise FloopError(f"cannot kill {name}: it is not running; see {self._fleet.log(name)}")
        first = before = now = self.look()
        os.kill(pid, signal.SIGKILL)
        start = time.monotonic()
        while (passed := time.monotonic() - start) < RESUME_TIMEOUT_S:  # on a busy host the run goes on without it
            time.sleep(_POLL_S)
            now = self.look()
            if passed < 1.5 * WRITE_INTERVAL_S:
                before = now  # these figures may still describe the killed process
            elif self._fleet.pid(name) not in (None, pid) and is_back(name, first, before, now):
                break
        took = time.monotonic() - start
        rate = steps_per_s(first, now, took, but=name.rpartition(".")[0])
        return KillRecord(name=name, kind=kind_of(name), pid=pid, resumed_s=took, others_steps_per_s=rate)


def steps_per_s(before: Snapshot, now: Snapshot, elapsed_s: float, but: str = "") -> float:
    """Policy steps per second of an average robot, without the robot `but`, over `elapsed_s` between two snapshots."""
    robots = [(a, b) for a, b in zip(before.robots, now.robots, strict=True) if a.name != but]
    done = sum(_steps(b) - _steps(a) for a, b in robots)
    return done / len(robots) / elapsed_s if robots else float("nan")


def is_at_work(snapshot: Snapshot) -> bool:
    """Whether every process does its job."""
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


def is_back(name: str, first: Snapshot, before: Snapshot, now: Snapshot) -> bool:
    """Whether `name` works again.

    `first`: snapshot before the kill; `before`: after the killed process's last figures; `now`: the newest snapshot.
    """
    kind, robot = kind_of(name), name.rpartition(".")[0]
    if robot:
        return _robot_is_back(kind, _view(first, robot), _view(before, robot), _view(now, robot))
    checks: dict[str, Callable[[], bool]] = {
        "ingest": lambda: _acked(now) > _acked(before),
        "learner": lambda: _learner_is_back(first, now),
        "gate": lambda: _gate_is_back(first, now),
        "fitter": lambda: now.fitter_boots > first.fitter_boots,
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
