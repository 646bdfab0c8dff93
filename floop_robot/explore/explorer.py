"""Explorer: simulated episodes on the learner's live weights, nearly all of them on what fails while something does.

A fleet that only runs gated weights starves its learner: somebody has to explore. An explorer is no robot of the fleet,
and nothing it does counts as production.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import numpy as np

from floop_envs.domain_randomization import DomainRandomization
from floop_envs.env import make_env
from floop_envs.rollout import RolloutResult, run_episode
from floop_envs.scenarios import TRAINING_CLASSES, TrainingScenarios, model_of
from floop_envs.seeds import scenario_of
from floop_robot.core import PolicyActor, RecordSink
from floop_robot.explore.analogy_exploration import AnalogyPolicy, analogies
from floop_robot.explore.episode_records import episode_records
from floop_robot.explore.practice import ClassPractice, OneWayPractice, VariedPractice
from floop_robot.explore.search_space import Values
from floop_robot.explore.stall_limit import StallLimit
from floop_robot.explore.target_successes import TargetSuccesses
from floop_robot.gate.reported_tasks import new_tasks, reported_scenarios, target_tasks, unsolved_tasks
from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.spec.calibration import Calibration
from floop_robot.spec.records import ActMode
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.wall_clock import WallClock
from floop_robot.stream.codec import Block

FAILING_SHARE = 0.85
"""Share of episodes on failing tasks, while any fail; the rest is on known tasks."""
RESOLVED_SHARE = 0.5
"""Share of episodes on tasks learned since the shipped policy, while nothing fails."""
ANALOGY_SHARE = 0.75
"""Share of episodes on reported tasks that are made by analogy, until the policy itself succeeds in most of them."""
WHOLE_SHARE = 0.2
"""Share of episodes that are never given up: they tell whether others are given up too early."""

KNOWN = tuple(KnownClass(m.object_class, m.size_low_m, m.size_high_m) for m in map(model_of, TRAINING_CLASSES))
"""What the shipped policies know, for tries by analogy."""


class ExplorerCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What an explorer did since it started."""

    episodes: int = 0
    successes: int = 0
    transitions: int = 0
    dropped: int = 0
    """Records that found no room on the way to ingest."""


class Explorer:
    """Runs episodes and hands their records to `records`; owned by one thread."""

    def __init__(
        self,
        task: str,
        robot: str,
        records: RecordSink,
        next_seed: Callable[[], int],
        *,
        analogy_share: float = ANALOGY_SHARE,
        one_way: bool = False,
        first_successes: int = 0,
        clock_ns: Callable[[], int] = time.time_ns,
        first_episode: int | None = None,
    ) -> None:
        """`analogy_share`: largest share of episodes on reported tasks that are made by analogy.

        `one_way`: tries repeat what succeeds best, for learners that clone them; critics learn more from variety.
        `first_successes`: successes at a failing class until which they are scarce. `first_episode`: a number above all
        that this explorer used before; None: milliseconds since 1970.
        """
        self._task, self._records, self._next_seed, self._clock_ns = task, records, next_seed, WallClock(clock_ns)
        self._env = make_env(task, robot)
        layout = self._env.rules.spec.observation
        self._analogy_share = analogy_share if AnalogyPolicy.is_supported(layout) else 0.0
        self.failures = FailureMonitor()
        """What fails on the robots."""
        self.fits = RobotFits()
        """What is known of the robots' worlds."""
        self._fits_explain = False
        self.counts = ExplorerCounts()
        self._target_successes = TargetSuccesses(first_successes)
        self._known_tasks = DomainRandomization(TrainingScenarios(task))
        self._reported: DomainRandomization | None = None
        self._reported_at, self._reported_share = (-1, -1), 0.0
        self._episode = clock_ns() // 1_000_000 if first_episode is None else first_episode
        self._practice: dict[str, ClassPractice] = {}
        self._one_way = one_way
        self._best_ways: dict[str, Values] = {}
        self._teachers: dict[str, PolicyActor] = {}
        """The policy as it was when a failing class was tried first, by class."""
        self._calibration: Calibration | None = None

    @property
    def target_classes(self) -> tuple[str, ...]:
        """Failing classes that are practiced."""
        return target_tasks(self.failures).classes

    @property
    def target_successes(self) -> dict[str, int]:
        """Successes of practice at each failing class since it began to fail; classes without any are left out."""
        return self._target_successes.counts

    @property
    def scarce(self) -> bool:
        """Whether a class fails at which practice had fewer than `first_successes`."""
        return self._target_successes.scarce

    def take(self, block: Block) -> None:
        """Take in a block of the journal."""
        self.failures.take(block.info, block.ends, block.labels)
        self.fits.take(block.info, block.events)
        failing = self.target_classes
        self._target_successes.set_failing(failing)
        self._teachers = {name: actor for name, actor in self._teachers.items() if name in failing}

    def explore(self, actor: PolicyActor, version: int, calibration: Calibration | None = None) -> RolloutResult:
        """Run one episode, sampled from live weights `version` with their corrections, and report it."""
        self._calibration = calibration
        seed = self._next_seed()
        rng = np.random.default_rng((seed, 1))
        reported = self._reported_tasks()
        if reported is not None and rng.random() < self._reported_share:
            return self._practise(actor, version, scenario_of(reported, seed), rng)
        result = self._run(actor, scenario_of(self._known_tasks, seed), rng)
        self._report(result, version, ActMode.SAMPLE)
        return result

    def _practise(
        self, actor: PolicyActor, version: int, scenario: Scenario, rng: np.random.Generator
    ) -> RolloutResult:
        """An episode of a reported task, by analogy or by the policy itself."""
        name = scenario.object.object_class
        if (practice := self._practice.get(name)) is None:
            practice = self._practice[name] = self._new_practice(name)
        limit = None if rng.random() < WHOLE_SHARE else practice.stall_limit
        if rng.random() >= self._analogy_share * practice.tries_needed:
            result = self._run(actor, scenario, rng, limit)
            practice.policy_outcomes.add(result.success)
            self._report(result, version, ActMode.SAMPLE)
        else:
            planned = practice.plan(scenario, rng)
            # Whoever clones a way changes what the policy does there: shown the same again, it would do it twice.
            shown = self._teachers.setdefault(name, actor) if self._one_way else actor
            result = self._run(self._analogy_policy(shown, planned.point), planned.scenario, rng, limit)
            # The gate refuses what leaves the joints' limits, so the search takes it for a failure that came nowhere.
            is_kept = not result.limit_violations
            planned.tell(result.success and is_kept, result.furthest if is_kept else 0.0)
            self._report(result, version, ActMode.TRIAL, tuple(planned.point.tolist()))
        self._target_successes.note(name, result.success)
        if result.success:
            practice.stall_limit.succeeded([step.reward for step in result.trace])
        return result

    def _new_practice(self, name: str) -> ClassPractice:
        own = next((i for i, known in enumerate(KNOWN) if known.object_class == name), None)
        space = analogies(len(KNOWN), own)
        return OneWayPractice(space, name, self._best_ways) if self._one_way else VariedPractice(space)

    def _run(
        self, actor: PolicyActor, scenario: Scenario, rng: np.random.Generator, limit: StallLimit | None = None
    ) -> RolloutResult:
        give_up = limit.watch() if limit else None
        return run_episode(
            self._env,
            actor,
            scenario,
            rng,
            sample=True,
            record_trace=True,
            give_up=give_up,
            calibration=self._calibration,
        )

    def begin_with(self, summary: FleetSummary, _: int = 0) -> None:
        """Take over what the journal says of the fleet, instead of what was known."""
        self.failures, self.fits, self._reported_at = summary.failures, summary.fits, (-1, -1)
        self._target_successes.set_failing(self.target_classes)

    def close(self) -> None:
        """Close the simulator."""
        self._env.close()

    def _report(self, result: RolloutResult, version: int, mode: ActMode, tried: tuple[float, ...] = ()) -> None:
        self._episode += 1
        records = episode_records(result, self._episode, version, mode, self._clock_ns(), tried)
        self.counts = ExplorerCounts(
            episodes=self.counts.episodes + 1,
            successes=self.counts.successes + result.success,
            transitions=self.counts.transitions + result.steps,
            dropped=self.counts.dropped + sum(not self._records.put(record) for record in records),
        )

    def _analogy_policy(self, actor: PolicyActor, analogy: Values) -> AnalogyPolicy:
        return AnalogyPolicy(actor, self._env.rules.spec.observation, KNOWN, analogy, self._env.yaws_rad)

    def _worlds_changed(self) -> None:
        """Forget what was learned in other worlds than the robots' are now."""
        for practice in self._practice.values():
            practice.forget_scenarios()
        if self.fits.explain_any and not self._fits_explain:
            for known in KNOWN:  # in the usual world they did not fail, so ways that succeeded tell nothing
                self._practice.pop(known.object_class, None)
                self._best_ways.pop(known.object_class, None)
                self._target_successes.forget(known.object_class)
        self._fits_explain = self.fits.explain_any

    def _reported_tasks(self) -> DomainRandomization | None:
        if self._reported_at != (now := (self.failures.changes, self.fits.changes)):
            if now[1] != self._reported_at[1]:
                self._worlds_changed()
            self._reported_at = now
            unsolved = unsolved_tasks(self.failures)
            self._reported_share = FAILING_SHARE if unsolved else RESOLVED_SHARE
            source = reported_scenarios(self._task, self.failures, unsolved or new_tasks(self.failures), self.fits)
            self._reported = DomainRandomization(source, self.fits.worlds) if source is not None else None
        return self._reported
