"""An explorer: a simulated worker that acts on the learner's live weights, so that somebody explores.

learner ─▶ live weights ─▶ sampled episodes in PyBullet ─▶ records (source: explorer) ─▶ ingest
journal ─▶ tail ─▶ what robots report ─▶ half of its work

It is no robot of the fleet: nothing it does counts as production. Fleets without enough exploration starve the learner
(every candidate collapses), so its pace is tied to the learner's: so many rows for each set of weights, no more.
"""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.env import make_env
from floop_envs.rollout import ActorLike, RolloutResult, run_episode
from floop_envs.scenarios import CATALOGUE, TRAINING_CLASSES, ReportedScenarios, TrainingScenarios, model_of
from floop_envs.seeds import Purpose, scenario_of
from floop_robot.bundle import Actor
from floop_robot.explore.analogy_exploration import AnalogyPolicy
from floop_robot.explore.domain_randomization import DomainRandomization
from floop_robot.explore.weight_subscriber import ExplorationRateLimiter, WeightSubscriber
from floop_robot.gate.seed_allocator import SeedAllocator
from floop_robot.learn.settings import PpoSettings
from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.monitor.journal_follower import JournalFollower
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.services.entry import run as enter
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import UnknownName
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import ActMode, EpisodeEnd, OutcomeCode, Record, Source, StreamInfo, Transition
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.uploader import RecordUploader

log = logging.getLogger(__name__)

ROWS_PER_WEIGHTS = 150
"""Rows that one set of live weights may be explored for (SAC; all explorers together). Weights come every half second
while the learner learns: some 300 rows/s. First successes at new tasks are rare: more attempts recover sooner than more
gradient steps on few (benchmarks/shift_recovery.py)."""
MOST_UNDELIVERED = 2000
"""Records on the way to ingest beyond which it pauses."""
REPORTED_SHARE = 0.5
"""Share of episodes on work that robots reported as going badly (or learned since the shipped policy); the rest is old
work."""
TRIAL_SHARE = 0.6
"""Share of episodes on reported tasks that try elsewhere, while the policy itself never succeeds at it."""
POLICY_EPISODES = 20
"""Latest episodes of the policy itself that say how well it does reported tasks."""
_WAIT_MS = 50
DRAIN_S = 1.0

class ExplorerStats(msgspec.Struct, frozen=True, kw_only=True):
    """How an explorer does, for screen and report."""

    episodes: int = 0
    successes: int = 0
    transitions: int = 0
    dropped: int = 0
    """Records that found no room on the way to ingest."""
    refused_weights: int = 0
    weights_version: int = 0
    focus: tuple[str, ...] = ()


class Explorer:
    """Runs episodes on live weights and reports them; owned by one thread."""

    def __init__(self, config: FloopConfig, index: int, uploader: RecordUploader, weights: WeightSubscriber, feed: JournalFollower) -> None:
        name = explorer_name(index)
        self._task, self._uploader, self._weights, self._feed = config.task, uploader, weights, feed
        self._env = make_env(config.task, config.robot.model)
        seeds = Path(config.run_dir) / "explorers" / name / "next_seed"
        self._seeds = SeedAllocator(seeds, Purpose.EXPLORER, config.seed, share=index)
        self._work = _new_log()
        self._old = DomainRandomization(TrainingScenarios(config.task))
        self._reported: DomainRandomization | None = None
        self._reported_of = -1
        self._episode = time.time_ns() // 1_000_000  # above every number this explorer used before
        rows = PpoSettings().rows_per_update if config.learner.algo == "ppo" else ROWS_PER_WEIGHTS
        self._rate_limiter = ExplorationRateLimiter(max(1, rows // max(1, config.explorers)), time.monotonic())
        # Trials have no density under the policy: on-policy learners have no use for them.
        self._may_try_analogy = config.learner.algo != "ppo" and AnalogyPolicy.is_supported(self._env.rules.spec.observation)
        self._known = [KnownClass(m.object_class, m.size_low_m, m.size_high_m) for m in map(model_of, TRAINING_CLASSES)]
        self._policy_successes: deque[bool] = deque(maxlen=POLICY_EPISODES)
        self._stats = ExplorerStats()
        self._file = StatsFile[ExplorerStats](Path(config.run_dir), name)

    def run(self, stop: threading.Event) -> None:
        """Explore until `stop`."""
        while not stop.is_set():
            self._feed.drain(self._work.observe, self._restart_monitor)
            if self._weights.poll(0 if self._may_explore() else _WAIT_MS):
                self._rate_limiter.new_weights(time.monotonic())
            if self._weights.actor is not None and self._may_explore():
                self._explore(self._weights.actor)
            self._file.write(self._current_stats())
        self._file.write(self._current_stats(), force=True)

    def close(self) -> None:
        """Let go of the simulator."""
        self._env.close()

    def _may_explore(self) -> bool:
        if self._weights.actor is None or self._uploader.stats().depth > MOST_UNDELIVERED:
            return False
        return self._rate_limiter.may_explore(time.monotonic())

    def _restart_monitor(self) -> None:
        self._work, self._reported_of = _new_log(), -1

    def _explore(self, actor: Actor) -> None:
        seed = self._seeds.next()
        rng = np.random.default_rng((seed, 1))
        reported = self._reported_work()
        is_reported = reported is not None and rng.random() < REPORTED_SHARE
        source = reported if is_reported and reported is not None else self._old
        by_analogy = is_reported and self._may_try_analogy and rng.random() < self._trial_share
        acting: ActorLike = self._analogy_policy(actor, rng) if by_analogy else actor
        result = run_episode(self._env, acting, scenario_of(source, seed), rng, sample=True, record_trace=True)
        if is_reported and not by_analogy:
            self._policy_successes.append(result.success)
        self._rate_limiter.spend(result.steps)
        self._episode += 1
        mode = ActMode.TRIAL if by_analogy else ActMode.SAMPLE
        records = records_of(result, self._episode, self._weights.version, mode)
        dropped = sum(not self._uploader.put(record) for record in records)
        self._stats = msgspec.structs.replace(
            self._stats,
            episodes=self._stats.episodes + 1,
            successes=self._stats.successes + result.success,
            transitions=self._stats.transitions + result.steps,
            dropped=self._stats.dropped + dropped,
        )

    @property
    def _trial_share(self) -> float:
        """How much is tried elsewhere: the less, the better the policy does such work by itself."""
        won = sum(self._policy_successes) / len(self._policy_successes) if self._policy_successes else 0.0
        return TRIAL_SHARE * (1.0 - won)

    def _analogy_policy(self, actor: Actor, rng: np.random.Generator) -> AnalogyPolicy:
        known = self._known[int(rng.integers(len(self._known)))]
        return AnalogyPolicy(actor, self._env.rules.spec.observation, known, rng)

    def _current_stats(self) -> ExplorerStats:
        return msgspec.structs.replace(
            self._stats,
            refused_weights=self._weights.refused,
            weights_version=self._weights.version,
            focus=self._work.failing,
        )

    def _reported_work(self) -> DomainRandomization | None:
        if self._reported_of != self._work.changes:
            self._reported_of = self._work.changes
            classes = self._work.failing or self._work.resolved
            reports = self._work.reports(classes)
            self._reported = DomainRandomization(ReportedScenarios(self._task, reports)) if reports else None
        return self._reported


def records_of(result: RolloutResult, episode: int, version: int, mode: ActMode) -> list[Record]:
    """Return an episode as the records of a robot: transitions with their log-densities, and its end."""
    now = time.time_ns()
    rows: list[Record] = [
        Transition(
            seq=0,
            episode=episode,
            step=number,
            stamp_ns=now,
            policy_version=version,
            act_mode=mode,
            obs=step.obs,
            action_requested=step.action_requested,
            action=step.action,
            log_prob=step.log_prob,
            reward=step.reward,
            terminated=step.terminated,
            truncated=step.truncated,
            interventions=step.interventions,
        )
        for number, step in enumerate(result.trace)
    ]
    end = EpisodeEnd(
        seq=0,
        episode=episode,
        stamp_ns=now,
        policy_version=version,
        act_mode=mode,
        steps=result.steps,
        duration_s=result.duration_s,
        total_reward=result.total_reward,
        outcome=OutcomeCode.SUCCESS if result.success else OutcomeCode.TIMEOUT,
        final_obs=result.trace[-1].next_obs,
        work=result.work,
    )
    return [*rows, end]


def explorer_name(index: int) -> str:
    """Name of an explorer, as records and statistics show it."""
    return f"explorer_{index + 1}"


def _new_log() -> FailureMonitor:
    return FailureMonitor(TRAINING_CLASSES, [m.object_class for m in CATALOGUE])


def run(config: FloopConfig, index: int, stop: threading.Event) -> None:
    """Explore until `stop`; raises `FloopError` when the run directory can't be used."""
    rules = get_task(config.task)
    info = StreamInfo(
        robot=explorer_name(index),
        boot_id="",
        task=config.task,
        ids=ids_of(rules, load_robot(config.robot.model)),
        source=Source.EXPLORER,
    )
    folder = Path(config.run_dir) / "explorers" / info.robot / "spool"
    uploader = RecordUploader(
        folder,
        info,
        config.endpoints.ingest,
        limit_mb=config.robot.spool_limit_mb,
        sync_interval_s=config.robot.sync_interval_s,
    )
    weights = WeightSubscriber(config)
    try:
        with JournalFollower(config.endpoints.tail) as feed:
            explorer = Explorer(config, index, uploader, weights, feed)
            try:
                explorer.run(stop)
            finally:
                explorer.close()
        uploader.drain(DRAIN_S)
    finally:
        weights.close()
        uploader.close()


def main(argv: list[str] | None = None) -> int:
    """Run an explorer until SIGINT or SIGTERM; errors that a user can mend are raised as `FloopError`."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="explorer", description="Act on the learner's live weights in simulation.")
    parser.add_argument("--index", type=int, default=0, help="which explorer this is, from 0")
    arguments, config = read_arguments(parser, argv)
    if not 0 <= arguments.index < max(1, config.explorers):
        names = [str(i) for i in range(config.explorers)]
        raise UnknownName("explorer index", arguments.index, names, str(arguments.config))
    run(config, arguments.index, stop)
    return 0


if __name__ == "__main__":
    sys.exit(enter(["explorer", *sys.argv[1:]]))
