"""Explorer: simulated episodes on the learner's live weights, half of them where robots fail.

A fleet that only runs gated weights starves its learner: somebody has to explore. An explorer is no robot of the fleet,
and nothing it does counts as production.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

from floop_envs.env import make_env
from floop_envs.rollout import RolloutResult, run_episode
from floop_envs.scenarios import TRAINING_CLASSES, TrainingScenarios, model_of
from floop_envs.seeds import scenario_of
from floop_robot.core import PolicyActor, RecordSink, ScenarioSource
from floop_robot.explore.analogy_exploration import AnalogyPolicy
from floop_robot.explore.domain_randomization import DomainRandomization
from floop_robot.explore.episode_records import episode_records
from floop_robot.gate.reported_tasks import new_tasks, reported_scenarios, target_tasks
from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.spec.records import ActMode

REPORTED_SHARE = 0.5
"""Share of episodes on failing or resolved tasks; the rest is on known tasks."""
ANALOGY_SHARE = 0.6
"""Share of episodes on reported tasks that are made by analogy, while the policy itself never succeeds."""
POLICY_EPISODES = 20
"""Latest episodes of the policy itself that tell how well it does reported tasks."""


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
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """`analogy_share` is 0 for on-policy learners: what is done by analogy has no density under the policy."""
        self._task, self._records, self._next_seed, self._clock_ns = task, records, next_seed, clock_ns
        self._env = make_env(task, robot)
        layout = self._env.rules.spec.observation
        self._analogy_share = analogy_share if AnalogyPolicy.is_supported(layout) else 0.0
        self.failures = FailureMonitor()
        """What fails on the robots; feed it from the journal."""
        self.counts = ExplorerCounts()
        self._known_tasks = DomainRandomization(TrainingScenarios(task))
        self._reported: DomainRandomization | None = None
        self._reported_at = -1
        self._episode = clock_ns() // 1_000_000  # above every number that this explorer used before
        self._known = [KnownClass(m.object_class, m.size_low_m, m.size_high_m) for m in map(model_of, TRAINING_CLASSES)]
        self._policy_successes: deque[bool] = deque(maxlen=POLICY_EPISODES)

    @property
    def target_classes(self) -> tuple[str, ...]:
        """Failing classes that are practiced."""
        return target_tasks(self.failures).classes

    def explore(self, actor: PolicyActor, version: int) -> RolloutResult:
        """Run one episode, sampled from live weights `version`, and report it."""
        seed = self._next_seed()
        rng = np.random.default_rng((seed, 1))
        reported = self._reported_tasks()
        is_reported = reported is not None and rng.random() < REPORTED_SHARE
        source: ScenarioSource = reported if is_reported and reported is not None else self._known_tasks
        by_analogy = is_reported and self._analogy_share > 0.0 and rng.random() < self._present_analogy_share
        acting = self._analogy_policy(actor, rng) if by_analogy else actor
        result = run_episode(self._env, acting, scenario_of(source, seed), rng, sample=True, record_trace=True)
        if is_reported and not by_analogy:
            self._policy_successes.append(result.success)
        self._report(result, version, ActMode.TRIAL if by_analogy else ActMode.SAMPLE)
        return result

    def forget_reports(self) -> None:
        """Start anew: the journal was replaced."""
        self.failures, self._reported_at = FailureMonitor(), -1

    def close(self) -> None:
        """Close the simulator."""
        self._env.close()

    def _report(self, result: RolloutResult, version: int, mode: ActMode) -> None:
        self._episode += 1
        records = episode_records(result, self._episode, version, mode, self._clock_ns())
        self.counts = ExplorerCounts(
            episodes=self.counts.episodes + 1,
            successes=self.counts.successes + result.success,
            transitions=self.counts.transitions + result.steps,
            dropped=self.counts.dropped + sum(not self._records.put(record) for record in records),
        )

    @property
    def _present_analogy_share(self) -> float:
        """The better the policy does reported tasks by itself, the less is done by analogy."""
        successes = self._policy_successes
        return self._analogy_share * (1.0 - (sum(successes) / len(successes) if successes else 0.0))

    def _analogy_policy(self, actor: PolicyActor, rng: np.random.Generator) -> AnalogyPolicy:
        known = self._known[int(rng.integers(len(self._known)))]
        return AnalogyPolicy(actor, self._env.rules.spec.observation, known, rng)

    def _reported_tasks(self) -> DomainRandomization | None:
        if self._reported_at != self.failures.changes:
            self._reported_at = self.failures.changes
            classes = self.target_classes or new_tasks(self.failures)
            source = reported_scenarios(self._task, self.failures, classes)
            self._reported = DomainRandomization(source) if source is not None else None
        return self._reported
