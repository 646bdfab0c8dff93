"""LoopParts: the parts of a fleet, wired in one process and in virtual time, for `floop_robot/loop.py`."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Self

import msgspec

from floop_envs.seeds import Purpose
from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import InstallStage, Receipt
from floop_robot.deploy.deployment_controller import MANAGER_NAME, DeploymentController
from floop_robot.deploy.registry import Origin, Publication, Registry
from floop_robot.explore.explorer import Explorer
from floop_robot.explore.rate_limiter import ExplorationRateLimiter
from floop_robot.fit.fitter import Fitter
from floop_robot.gate.executor import InProcessExecutor
from floop_robot.gate.gate import Gate
from floop_robot.gate.pybullet_worker import PyBulletRunner
from floop_robot.gate.seed_allocator import SeedAllocator
from floop_robot.learn.learner import ContinuousLearner
from floop_robot.loop_config import ROBOTS_CORES, LoopConfig
from floop_robot.services.explorer import practices_one_way, rows_per_weights
from floop_robot.services.fleet_manager import REGISTRY_FILE, baseline_path
from floop_robot.services.learner import CHECKPOINT, build_algorithm, load_start_checkpoint
from floop_robot.services.supervision.scheduler import FIRST_SUCCESSES, NICE, LoopPhase, phase_of
from floop_robot.sim.simulated_robots import SimulatedRobots
from floop_robot.sim.virtual_cores import FreeCores, SharedCores, VirtualCores
from floop_robot.spec.cores import gate_workers_for
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.memory_journal import MemoryFollower, MemoryJournal, MemorySink

START_NS = 1_700_000_000 * 1_000_000_000
"""Wall clock at which virtual time begins: the same in every run, so that runs repeat."""


class PublishedPolicies:
    """Holds what the learner published last; a `core.WeightPublisher`."""

    def __init__(self, baseline: Bundle) -> None:
        self.live, self.actor, self.version = baseline, baseline.actor(), 0
        self.offered: Bundle | None = None
        """A candidate that the gate has not taken yet."""

    def weights(self, version: int, bundle: Bundle) -> None:
        """Take live weights."""
        self.live, self.actor, self.version = bundle, bundle.actor(), version

    def candidate(self, bundle: Bundle) -> None:
        """Take a candidate in place of an older one."""
        self.offered = bundle

    def take_candidate(self) -> Bundle | None:
        """The newest candidate, once."""
        bundle, self.offered = self.offered, None
        return bundle


class LoopParts:
    """Robots, journal, explorer, learner, gate and deployment; a context manager."""

    def __init__(self, config: LoopConfig, folder: Path) -> None:
        """Raises `FloopError` when task, baseline or checkpoint can't be used."""
        if config.fleet.deploy.canary:
            raise ConfigError("deploy.canary: robots in virtual time all act on one version; leave it out")
        fleet = msgspec.structs.replace(config.fleet, run_dir=str(folder))
        self.now_s = 0.0
        """Virtual time; the loop moves it."""
        self._fleet, self._rules = fleet, get_task(fleet.task)
        self._ids = ids_of(self._rules, load_robot(fleet.robot.model))
        self.journal = MemoryJournal()
        self.to_explorer, self.to_gate, self.to_deployment, self.to_fitter = (
            MemoryFollower(self.journal) for _ in range(4)
        )
        baseline = Bundle.load(baseline_path(fleet))
        self.published = PublishedPolicies(baseline)
        with contextlib.ExitStack() as opened:
            self.robots = self._robots()
            opened.callback(self.robots.close)
            self.explorer = self._explorer(config, folder)
            opened.callback(self.explorer.close)
            sink = self._sink("fitter", Source.FITTER)
            self.fitter = Fitter(fleet.task, fleet.robot.model, sink, fleet.seed, self.clock_ns)
            opened.callback(self.fitter.close)
            self.learner = self._learner(folder)
            executor = InProcessExecutor(PyBulletRunner(fleet.task, fleet.robot.model))
            opened.callback(executor.close)
            self.gate = Gate(fleet, executor, self.clock_s)
            self.registry = Registry(folder / REGISTRY_FILE)
            opened.callback(self.registry.close)
            self.controller = DeploymentController(self.registry, fleet.deploy)
            self.controller.publish(Publication(bundle=baseline, origin=Origin.BASELINE, who=MANAGER_NAME), START_NS)
            self.version, self.actor, self.calibration = 0, baseline.actor(), baseline.manifest.calibration
            self.cores: VirtualCores = FreeCores()
            if config.cores:
                workers = fleet.gate.workers
                threads = {"gate": gate_workers_for(int(config.cores)) if workers == "auto" else workers}
                self.cores = SharedCores(
                    config.cores - ROBOTS_CORES,
                    self._nice,
                    lambda: time.process_time() / config.speed,
                    threads=threads,
                )
            self._explorer_rows = 0 if config.cores else config.explorer_rows
            self._rate_limiter = ExplorationRateLimiter(rows_per_weights(fleet.learner), self.clock_s)
            self._explored_version = 0
            self.install()
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def clock_s(self) -> float:
        """Virtual seconds since the start."""
        return self.now_s

    def clock_ns(self) -> int:
        """Virtual time as wall-clock nanoseconds."""
        return START_NS + round(self.now_s * 1e9)

    def install(self) -> None:
        """Let every robot act on the version in production, and the gate compare with it."""
        self.controller.take_announcements()
        if (version := self.controller.production) == self.version:
            return
        bundle = self.registry.bundle(version)
        self.version, self.actor, self.calibration = version, bundle.actor(), bundle.manifest.calibration
        self.gate.set_incumbent(bundle)
        for robot in self._fleet.robot_names:
            receipt = Receipt(robot=robot, version=version, stage=InstallStage.ACTING, since_received_s=0.0)
            self.registry.telemetry.record_receipt(receipt, self.clock_ns())

    def may_explore(self, explored: int) -> bool:
        """Whether another episode may begin, after so many rows in this second.

        Where computing takes time, explorers keep the pace of `services/explorer.py` instead.
        """
        if self._explorer_rows:
            return explored < self._explorer_rows
        if self.published.version != self._explored_version:
            self._explored_version = self.published.version
            self._rate_limiter.new_weights()
        return self.explorer.scarce or self._rate_limiter.may_explore()

    def explore(self) -> int:
        """Run an episode on the live weights; returns its steps."""
        is_free = self.explorer.scarce
        live = self.published
        result = self.explorer.explore(live.actor, live.version, live.live.manifest.calibration)
        if not is_free:
            self._rate_limiter.spend(result.steps)
        return result.steps

    def _nice(self, process: str) -> int:
        """As `services/supervision/scheduler.py` orders the processes of a fleet."""
        configured = self._fleet.gate.nice if process == "gate" else self._fleet.learner.nice
        return NICE[self._phase].get(process, configured)

    @property
    def _phase(self) -> LoopPhase:
        successes, awaits_fit = [self.explorer.target_successes], self.fitter.counts.awaited
        return phase_of(self.gate.target_tasks.classes, self.gate.busy, successes, awaits_fit)

    def _sink(self, name: str, source: Source) -> MemorySink:
        return MemorySink(self.journal, StreamInfo(name, f"{name}-boot", self._fleet.task, self._ids, source))

    def _robots(self) -> SimulatedRobots:
        sinks = {name: self._sink(name, Source.ROBOT) for name in self._fleet.robot_names}
        return SimulatedRobots(self._fleet.task, self._fleet.robot.model, sinks, self._fleet.seed, self.clock_ns)

    def _explorer(self, config: LoopConfig, folder: Path) -> Explorer:
        return Explorer(
            self._fleet.task,
            self._fleet.robot.model,
            self._sink("explorer_1", Source.EXPLORER),
            SeedAllocator(folder / "explorer_seed", Purpose.EXPLORER, self._fleet.seed).next,
            analogy_share=config.analogy_share,
            one_way=practices_one_way(self._fleet.learner),
            first_successes=FIRST_SUCCESSES,
            clock_ns=self.clock_ns,
        )

    def _learner(self, folder: Path) -> ContinuousLearner:
        checkpoint, _ = load_start_checkpoint(self._fleet)
        learner = ContinuousLearner(
            self._fleet.learner,
            self._rules.spec,
            self._ids,
            build_algorithm(self._fleet, self._rules.spec, checkpoint, resume=False),
            MemoryFollower(self.journal),
            self.published,
            folder / CHECKPOINT,
            self.clock_s,
        )
        learner.start_from(checkpoint)
        return learner
