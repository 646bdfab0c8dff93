"""Endurance: kill the processes of a running fleet one after another, and keep a ledger of what became of each.

A process counts as resumed when it does its job again, not when it exists: a robot acts, ingest confirms new rows, the
learner does gradient steps, the gate knows its incumbent, the fleet manager answers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_robot.experiment.snapshot import Observer, RobotView, Snapshot
from floop_robot.processes.supervisor import Supervisor
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.stream.journal import Audit, JournalReader

LONGEST_S = 60.0
"""A process that is not back by then counts as lost."""
_LOOK_S = 0.1
CENTRAL = ("ingest", "learner", "gate", "fleet_manager")
PARTS = ("policy", "safety", "sim_robot")


class Kill(msgspec.Struct, frozen=True):
    """One line of the ledger."""

    name: str
    pid: int
    resumed_s: float
    """From SIGKILL until it did its job again."""


class Ledger(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of kills showed."""

    kills: tuple[Kill, ...]
    acked: int
    """Records that robots were told are safe."""
    missing: int
    """Acknowledged records that are not in the journal."""
    audit: Audit

    def slowest(self, name: str) -> float:
        """Longest time until processes whose name ends in `name` were back, s; NaN if none was killed."""
        times = [k.resumed_s for k in self.kills if k.name.endswith(name)]
        return max(times, default=float("nan"))


def kill_and_wait(fleet: Supervisor, observer: Observer, name: str) -> Kill:
    """SIGKILL a process and wait until its successor does its job; raises `FloopError` when it does not."""
    pid = fleet.pid(name)
    if pid is None:
        raise FloopError(f"{name} is not running; it cannot be killed")
    before = observer.take()
    os.kill(pid, signal.SIGKILL)
    start = time.monotonic()
    while time.monotonic() - start < LONGEST_S:
        time.sleep(_LOOK_S)
        if fleet.pid(name) in (None, pid):
            continue
        if _is_back(name, before, observer.take()):
            return Kill(name, pid, time.monotonic() - start)
    raise FloopError(f"{name} did not resume within {LONGEST_S:.0f} s after SIGKILL; see {fleet.log(name)}")


def check_rows(config: FloopConfig, snapshot: Snapshot, audit: Audit, kills: tuple[Kill, ...]) -> Ledger:
    """Compare what robots were told with what the journal holds; call when the fleet has stopped."""
    promised: dict[tuple[str, str], int] = {}
    for robot in snapshot.robots:
        for boot in robot.policy:
            key = robot.name, boot.boot_id
            promised[key] = max(promised.get(key, 0), boot.stream.sender.acked_seq)
    reader = JournalReader(Path(config.run_dir) / "journal.sqlite")
    try:
        marks = reader.marks()
    finally:
        reader.close()
    missing = sum(max(0, acked - marks.get(key, 0)) for key, acked in promised.items())
    return Ledger(kills=kills, acked=sum(promised.values()), missing=missing, audit=audit)


def _is_back(name: str, before: Snapshot, now: Snapshot) -> bool:
    robot, _, part = name.rpartition(".")
    if robot:
        return _robot_is_back(part, _view(before, robot), _view(now, robot))
    checks: dict[str, Callable[[Snapshot, Snapshot], bool]] = {
        "ingest": lambda a, b: _acked(b) > _acked(a),
        "learner": _learner_is_back,
        "gate": lambda a, b: b.gate_boots > a.gate_boots and b.gate is not None and b.gate.incumbent > 0,
        "fleet_manager": lambda a, b: b.fleet is not None and a.fleet is not None and b.fleet.epoch > a.fleet.epoch,
    }
    return checks[name](before, now)


def _robot_is_back(part: str, before: RobotView, now: RobotView) -> bool:
    if part == "policy":
        return len(now.policy) > len(before.policy) and now.policy[-1].policy.transitions > 0
    boots = len(now.safety) > len(before.safety) if part == "safety" else len(now.driver) > len(before.driver)
    acts = bool(now.policy) and bool(before.policy)
    return boots and acts and now.policy[-1].policy.transitions > before.policy[-1].policy.transitions


def _learner_is_back(before: Snapshot, now: Snapshot) -> bool:
    return now.learner_boots > before.learner_boots and now.learner is not None and now.learner.steps_per_s > 0


def _view(snapshot: Snapshot, name: str) -> RobotView:
    return next(robot for robot in snapshot.robots if robot.name == name)


def _acked(snapshot: Snapshot) -> int:
    return sum(boot.stream.sender.acked for robot in snapshot.robots for boot in robot.policy)
