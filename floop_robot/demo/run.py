"""Experiment: known tasks → the world shifts → failures → learning → gate → deployment → success confirmed → report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.shifts import shifted_scenarios
from floop_policies import baseline as shipped
from floop_robot.bundle import Bundle
from floop_robot.demo.evaluate import EvaluationResult, FinalEvaluation
from floop_robot.demo.live_success import LiveSuccess, ObservedShift, read_shift
from floop_robot.demo.loop_waits import LoopWaits, PartWait
from floop_robot.demo.report import DemoReport
from floop_robot.demo.snapshot import Snapshot, SnapshotReader
from floop_robot.demo.stop_condition import StopCondition
from floop_robot.demo.summary import RunData, bare_timer, summarize
from floop_robot.deploy import NoImprovement, TimeToImprovement, time_to_improvement
from floop_robot.deploy.registry import History, read_history
from floop_robot.deploy.tti import IMPROVED_SUCCESS, best_improvement
from floop_robot.services.fleet_manager import baseline_path, registry_path
from floop_robot.services.start_policy import refuse_zip, require_checkpoint
from floop_robot.services.supervision.fleet_description import Middleware, simulated_fleet, write_config
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.ros_domain import local_environment
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.sim.sim_world import SimWorld, set_world
from floop_robot.spec.config import DeployConfig, Endpoints, FloopConfig, LearnerConfig
from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.tasks import get_task
from floop_robot.stream.journal_reader import JournalAudit
from floop_robot.stream.tail_client import TailClient
from floop_robot.train.validate import load_policy

POLL_S = 0.5
KNOWN_PHASE = "robots do tasks that they know"
SHIFTED_PHASE = "the world has changed; the fleet learns"
"""Name of the phase from the shift to the improvement."""
IMPROVED_PHASE = f"{IMPROVED_SUCCESS:.0%} success is sure, {DeployConfig().confirm_success:.0%} not yet"
CONFIRMED_PHASE = f"fix confirmed: {DeployConfig().confirm_success:.0%} is sure; waiting for better versions"
MEASURING_PHASE = "measuring the first and the final policy"
WARM_EPISODES = 8
"""Each robot does this many episodes of known tasks before the shift."""
START_TIMEOUT_S = 300.0
"""A machine at a quarter of the usual speed starts within this time."""

DEFAULT_ALGO = "ppo"
"""What the demo's fleet learns with: it recovers sooner, and forgets less (docs/design/demo.md)."""


class DemoPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, and for how long."""

    run_dir: Path
    task: str
    algo: str = DEFAULT_ALGO
    """What the fleet learns with; that of the baseline."""
    robots: int = 4
    seed: int = 0
    shift: str = "new-object"
    shift_robots: tuple[str, ...] = ()
    """Robots whose world shifts; () for all."""
    baseline: str = ""
    """Bundle to start from, with its `.learner` checkpoint beside it; empty means the shipped one."""
    longest_s: float
    """Longest wall time from the start of the fleet to the end of the live part."""
    evaluation_scenarios: int = 500
    """Most scenarios that measure both policies at the end."""
    required_success: float = 0.0
    """Success on shifted tasks that the final policy must reach."""
    base_port: int
    """Of the fleet's central ports (`services.supervision.ports`)."""
    ros_domain: int | None = None
    """ROS domain of the fleet's nodes; None runs the fleet without ROS."""

    @property
    def world(self) -> SimWorld:
        """The shifted world."""
        return SimWorld(self.shift, self.shift_robots)


class DemoProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the experiment is, for the screen."""

    phase: str
    elapsed_s: float
    since_shift_s: float | None
    snapshot: Snapshot | None
    live: LiveSuccess | None
    waits: dict[str, PartWait] = {}
    """What the loop waited for since the shift; empty unless it waits for a fix."""
    left_s: float | None = None
    """How long this phase still lasts at most, s; None where nobody knows."""
    done: int = 0
    """Scenarios of the final evaluation that are done."""
    total: int = 0
    """Most scenarios of the final evaluation; 0 before it begins."""


ProgressCallback = Callable[[DemoProgress], None]


def check_world(task: str, world: SimWorld, robots: tuple[str, ...]) -> None:
    """Raise `UnknownName` for a task or shift that does not exist, or robots that are not among the fleet's `robots`.

    Also for a shift to objects that the task can't lay out, since the catalog has no model of them.
    """
    get_task(task)
    shifted_scenarios(world.shift or "", task).sample(np.random.default_rng(0))
    for robot in world.robots:
        if robot not in robots:
            raise UnknownName("robot", robot, robots, "this fleet")


def algo_of(task: str, baseline: Path | None, wanted: str | None) -> str:
    """The algorithm of a fleet that starts from `baseline` (None: the shipped one for `wanted`).

    Raises `FloopError` when the bundle does not fit the task, or a learner can't go on from it with that algorithm.
    """
    if baseline is None:
        load_policy(shipped(task, wanted or DEFAULT_ALGO), task)
        return wanted or DEFAULT_ALGO
    refuse_zip(baseline)
    bundle = load_policy(baseline, task)
    algo = wanted or bundle.manifest.algo
    require_checkpoint(baseline, bundle, algo)
    return algo


def _still_fails(snapshot: Snapshot) -> bool:
    target = snapshot.gate.target_tasks if snapshot.gate else None
    return target is None or bool(target.classes or target.without_model)


def silent_processes(snapshot: Snapshot) -> list[str]:
    """Who has not reported yet; a robot, when its policy acted on no version."""
    central = {"the fleet manager": snapshot.fleet, "the learner": snapshot.learner}
    robots = [robot.name for robot in snapshot.robots if not robot.version]
    return [*(name for name, found in central.items() if found is None), *robots]


class Experiment:
    """One run of the demo; for one thread."""

    def __init__(self, plan: DemoPlan, on_progress: ProgressCallback) -> None:
        """Raises `UnknownName` for a task, shift or robot that does not exist, before anything is started."""
        self.plan, self._on_progress = plan, on_progress
        self.config = FloopConfig(
            task=plan.task,
            robots=plan.robots,
            seed=plan.seed,
            baseline=plan.baseline,
            learner=LearnerConfig(algo=plan.algo),
            run_dir=str(plan.run_dir),
            endpoints=Endpoints(base_port=plan.base_port),
        )
        check_world(plan.task, plan.world, self.config.robot_names)
        self._start_s = time.monotonic()
        self.shift_ns = 0
        """Wall clock of the shift, nanoseconds; 0 before it."""
        self._last: Snapshot | None = None
        self._waits = LoopWaits()

    @property
    def shift(self) -> ObservedShift:
        """The shift, with the robots that have reached shifted tasks so far."""
        return read_shift(self.plan.run_dir, self.config.robot_names, self.shift_ns)

    def run(self) -> DemoReport:
        """Run everything and return the report; raises `FloopError` when the fleet does not start."""
        shipped = self._shipped()
        config_file = write_config(self.config)
        set_world(self.plan.run_dir, SimWorld())
        domain = self.plan.ros_domain
        specs = [
            *simulated_fleet(self.config, config_file, Middleware.ZMQ if domain is None else Middleware.ROS),
            ProcessSpec(name="bare_timer", module="bare_timer", arguments=("--config", str(config_file))),
        ]
        environment = {} if domain is None else local_environment(domain)
        with Supervisor(specs, self.plan.run_dir, environment) as fleet, SnapshotReader(self.config) as snapshots:
            self._warm_up(fleet, snapshots)
            self._shift()
            self._report_progress(f"{self._recover(fleet, snapshots)}; stopping the fleet")
            robots = [s.name for s in specs if s.part in ("policy", "explorer")]
            fleet.retire(robots)
            audit = self._audit()
            run_data = RunData(snapshots.take(), audit, fleet.restarts, bare_timer(self.plan.run_dir))
            final = snapshots.production()
        final.save(self.plan.run_dir / "final.floop")
        history = read_history(registry_path(self.config))
        evaluation = FinalEvaluation(self.config, self.plan.world, self.plan.evaluation_scenarios)
        return self._report(history, run_data, evaluation.run(shipped, final, self._on_scenario))

    def _shipped(self) -> Bundle:
        """Load the bundle to start from; raises what `load_policy` raises, before anything is started."""
        return load_policy(baseline_path(self.config), self.config.task, self.config.robot.model)

    def _report(self, history: History, run_data: RunData, evaluated: EvaluationResult) -> DemoReport:
        return summarize(
            self.config,
            self.plan.world,
            self.plan.required_success,
            self.shift,
            history,
            self._improvement(history),
            run_data,
            evaluated,
            self._waits.parts,
            time.monotonic() - self._start_s,
        )

    def _warm_up(self, fleet: Supervisor, snapshots: SnapshotReader) -> None:
        deadline, phase = self._start_s + START_TIMEOUT_S, "starting"
        while slow := self._slow(snapshot := self._look(phase, fleet, snapshots)):
            silent = silent_processes(snapshot)
            phase = f"starting; waiting for {', '.join(silent)}" if silent else KNOWN_PHASE
            if time.monotonic() > deadline:
                raise FloopError(
                    f"the fleet did not start within {START_TIMEOUT_S:.0f} s: {', '.join(slow)} "
                    f"did not work; try again when less runs on this machine, or see {self.plan.run_dir / 'logs'}"
                )

    @staticmethod
    def _slow(snapshot: Snapshot) -> list[str]:
        """Who did not do what the shift waits for yet."""
        slow = [r.name for r in snapshot.robots if r.episodes < WARM_EPISODES]
        return slow if snapshot.learner else [*slow, "the learner"]

    def _shift(self) -> None:
        set_world(self.plan.run_dir, self.plan.world)
        self.shift_ns = time.time_ns()

    def _recover(self, fleet: Supervisor, snapshots: SnapshotReader) -> str:
        """Wait until the fleet has recovered or time is over; returns why the wait ended."""
        stop_condition = StopCondition()
        while time.monotonic() - self._start_s < self.plan.longest_s:
            is_improved, is_confirmed = stop_condition.is_improved, stop_condition.is_confirmed
            phase = CONFIRMED_PHASE if is_confirmed else IMPROVED_PHASE if is_improved else SHIFTED_PHASE
            snapshot = self._look(phase, fleet, snapshots, self._left_s(stop_condition))
            if not is_improved:
                self._waits.note(time.monotonic(), snapshot)
            is_over = stop_condition.reached(
                time.monotonic(),
                improved=is_improved or self._has_shown(IMPROVED_SUCCESS),
                confirmed=is_confirmed or (is_improved and self._has_shown(self.config.deploy.confirm_success)),
                production=snapshot.fleet.production if snapshot.fleet else 0,
                still_fails=_still_fails(snapshot),
            )
            if is_over:
                return "a fix was confirmed" if stop_condition.is_confirmed else "not confirmed in time"
        return f"{self.plan.longest_s:.0f} s are over"

    def _has_shown(self, bound: float) -> bool:
        deploy = msgspec.structs.replace(self.config.deploy, confirm_success=bound)
        history = read_history(registry_path(self.config))
        found = time_to_improvement(history, self.shift.includes, self.config.robot_names, deploy)
        return isinstance(found, TimeToImprovement)

    def _left_s(self, stop_condition: StopCondition) -> float | None:
        """How long the live part still lasts at most; None before the improvement."""
        now_s = time.monotonic()
        left_s = stop_condition.left_s(now_s)
        return left_s if left_s is None else min(left_s, self._start_s + self.plan.longest_s - now_s)

    def _look(self, phase: str, fleet: Supervisor, snapshots: SnapshotReader, left_s: float | None = None) -> Snapshot:
        time.sleep(POLL_S)
        if fleet.given_up:
            name, line = next(iter(fleet.given_up.items()))
            raise FloopError(f"{name} stopped for good: {line}")
        self._last = snapshots.take()
        self._report_progress(phase, left_s=left_s)
        return self._last

    def _report_progress(self, phase: str, done: int = 0, total: int = 0, left_s: float | None = None) -> None:
        now = time.monotonic()
        # The registry can be read once the fleet manager has answered.
        is_up = self._last is not None and self._last.fleet is not None
        live = LiveSuccess.of(read_history(registry_path(self.config)), self.shift) if is_up and not total else None
        since = (time.time_ns() - self.shift_ns) * 1e-9 if self.shift_ns else None
        self._on_progress(
            DemoProgress(
                phase=phase,
                elapsed_s=now - self._start_s,
                since_shift_s=since,
                snapshot=self._last,
                live=live,
                waits=self._waits.parts if phase == SHIFTED_PHASE else {},
                left_s=left_s,
                done=done,
                total=total,
            )
        )

    def _on_scenario(self, done: int, total: int) -> None:
        if done % 5 == 0 or done == total:
            self._report_progress(MEASURING_PHASE, done, total)

    def _improvement(self, history: History) -> TimeToImprovement | NoImprovement:
        return best_improvement(history, self.shift.includes, self.config.robot_names, self.config.deploy)

    def _audit(self) -> JournalAudit:
        client = TailClient(self.config.endpoints.tail)
        try:
            return client.audit()
        finally:
            client.close()
