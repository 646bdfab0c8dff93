"""Snapshot: the state of a running fleet, read from its fleet manager and its stats files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.deploy import FleetClient, FleetStatus, Unreachable
from floop_robot.fit.fitter import FitterCounts
from floop_robot.learn.status import LearnerStatus
from floop_robot.services.explorer import ExplorerStats, explorer_name
from floop_robot.services.fitter import NAME as FITTER
from floop_robot.services.gate import GateStats
from floop_robot.services.policy import RobotStats
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.sim.sim_driver import DriverStats
from floop_robot.spec.config import FloopConfig


class RobotView(msgspec.Struct, frozen=True, kw_only=True):
    """One robot. Lists hold one entry for each start of the process, oldest first."""

    name: str
    policy: list[RobotStats]
    safety: list[SafetyStats]
    driver: list[DriverStats]

    @property
    def episodes(self) -> int:
        """Episodes ended so far."""
        return sum(boot.policy.episodes for boot in self.policy)

    @property
    def successes(self) -> int:
        """Successes so far."""
        return sum(boot.policy.successes for boot in self.policy)

    @property
    def version(self) -> int:
        """Policy version that it acts on; 0 before the first."""
        return self.policy[-1].policy.version if self.policy else 0


class ExplorerView(msgspec.Struct, frozen=True):
    """One explorer, with one entry for each start of its process, oldest first."""

    name: str
    boots: list[ExplorerStats]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one moment. Processes that have not reported yet are None or empty."""

    fleet: FleetStatus | None
    robots: tuple[RobotView, ...]
    explorers: tuple[ExplorerView, ...]
    learner: LearnerStatus | None
    gate: GateStats | None
    learner_boots: int
    gate_boots: int
    fitter_boots: int
    """How often the process was started."""


class SnapshotReader:
    """Takes snapshots; for one thread."""

    def __init__(self, config: FloopConfig) -> None:
        self._config, self._run_dir = config, Path(config.run_dir)
        self._client = FleetClient(config.endpoints.fleet_rpc, timeout_s=0.5)
        self._fleet: FleetStatus | None = None

    def __enter__(self) -> SnapshotReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def take(self) -> Snapshot:
        """Read everything now; a fleet manager that does not answer keeps its last state."""
        with contextlib.suppress(Unreachable):
            self._fleet = self._client.status()
        learner = read_stats(self._run_dir, "learner", LearnerStatus)
        gate = read_stats(self._run_dir, "gate", GateStats)
        return Snapshot(
            fleet=self._fleet,
            robots=tuple(self._robot(name) for name in self._config.robot_names),
            explorers=tuple(self._explorer(explorer_name(i)) for i in range(self._config.explorer_count)),
            learner=learner[-1] if learner else None,
            gate=gate[-1] if gate else None,
            learner_boots=len(learner),
            gate_boots=len(gate),
            fitter_boots=len(read_stats(self._run_dir, FITTER, FitterCounts)),
        )

    def production(self) -> Bundle:
        """The bundle in production; raises `Unreachable`."""
        return self._patient().fetch()

    def _patient(self) -> FleetClient:
        self._client.close()
        self._client = FleetClient(self._config.endpoints.fleet_rpc, timeout_s=10.0)
        return self._client

    def _robot(self, name: str) -> RobotView:
        return RobotView(
            name=name,
            policy=read_stats(self._run_dir, f"{name}.policy", RobotStats),
            safety=read_stats(self._run_dir, f"{name}.safety", SafetyStats),
            driver=read_stats(self._run_dir, f"{name}.sim_robot", DriverStats),
        )

    def _explorer(self, name: str) -> ExplorerView:
        return ExplorerView(name, read_stats(self._run_dir, name, ExplorerStats))
