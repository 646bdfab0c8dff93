"""The explorer process: practice on the learner's live weights, at the learner's pace.

learner ─▶ live weights ─▶ sampled episodes in PyBullet ─▶ records (source: explorer) ─▶ ingest
journal ─▶ tail ─▶ what fails on the robots ─▶ nearly all of the practice while it fails

While successes at a failing class are scarce, it does not wait for the learner (docs/design/processor_time.md).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import sys
import threading
import time
from pathlib import Path

import msgspec

from floop_envs.seeds import Purpose
from floop_robot.core import PolicyActor
from floop_robot.explore.explorer import Explorer, ExplorerCounts
from floop_robot.explore.rate_limiter import ExplorationRateLimiter
from floop_robot.explore.weight_subscriber import WeightSubscriber
from floop_robot.gate.seed_allocator import SeedAllocator
from floop_robot.services.entry import run as enter
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.services.record_stream import open_stream
from floop_robot.services.supervision.scheduler import FIRST_SUCCESSES
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import FloopConfig, LearnerConfig
from floop_robot.spec.default_settings import FLEET_PPO
from floop_robot.spec.errors import UnknownName
from floop_robot.spec.records import Source
from floop_robot.stream.episode_numbers import first_episode
from floop_robot.stream.journal_follower import ROBOT_REPORTS, JournalFollower, SummaryStart

log = logging.getLogger(__name__)

ROWS_PER_WEIGHTS = 150
"""Rows that all explorers together may make of one set of live weights (SAC).

Weights come every half second while the learner learns: some 300 rows/s. First successes at new tasks are rare, and
more attempts recover sooner than more gradient steps on few (benchmarks/shift_recovery.py).
"""
MAX_UNDELIVERED = 2000
"""Records on the way to ingest beyond which it pauses."""
DRAIN_S = 1.0
"""Longest wait at the end for records that ingest has not acknowledged."""
_WAIT_MS = 50


class ExplorerStats(ExplorerCounts, frozen=True, kw_only=True):
    """How an explorer does, for screen and report."""

    refused_weights: int = 0
    weights_version: int = 0
    target_classes: tuple[str, ...] = ()
    target_successes: dict[str, int] = msgspec.field(default_factory=dict)
    """Successes on each failing class since it began to fail."""


class ExplorerProcess:
    """One explorer and its connections; `run` explores until its stop event is set."""

    def __init__(self, config: FloopConfig, index: int) -> None:
        """Raises `FloopError` when the run directory can't be used."""
        name = explorer_name(index)
        folder = Path(config.run_dir) / "explorers" / name
        explorers = max(1, config.explorer_count)
        rows = rows_per_weights(config.learner)
        self._rate_limiter = ExplorationRateLimiter(max(1, rows // explorers), time.monotonic)
        self._stats = StatsFile[ExplorerStats](Path(config.run_dir), name)
        with contextlib.ExitStack() as opened:
            self._uploader = open_stream(config, name, Source.EXPLORER, folder / "spool")
            opened.callback(self._uploader.close)
            self._weights = WeightSubscriber(config)
            opened.callback(self._weights.close)
            seeds = SeedAllocator(folder / "next_seed", Purpose.EXPLORER, config.seed, share=index)
            self._explorer = Explorer(
                config.task,
                config.robot.model,
                self._uploader,
                seeds.next,
                one_way=practices_one_way(config.learner),
                first_successes=math.ceil(FIRST_SUCCESSES / explorers),
                first_episode=first_episode(folder),
            )
            opened.callback(self._explorer.close)
            self._journal = JournalFollower(
                config.endpoints.tail, ROBOT_REPORTS, start=SummaryStart(self._explorer.begin_with)
            )
            opened.callback(self._journal.close)
            self._opened = opened.pop_all()

    def run(self, stop: threading.Event) -> None:
        """Explore until `stop`."""
        while not stop.is_set():
            for found in self._journal.poll():
                self._explorer.take(found.block)
            if self._weights.poll(0 if self._may_explore() else _WAIT_MS):
                self._rate_limiter.new_weights()
            actor = self._weights.actor
            if actor is not None and self._may_explore():
                self._explore(actor)
            self._stats.write(self._current_stats())
        self._stats.write(self._current_stats(), force=True)

    def _explore(self, actor: PolicyActor) -> None:
        is_free = self._explorer.scarce
        result = self._explorer.explore(actor, self._weights.version, self._weights.calibration)
        if not is_free:
            self._rate_limiter.spend(result.steps)

    def close(self) -> None:
        """Wait a moment for ingest, then close connections and simulator."""
        with self._opened:
            self._uploader.drain(DRAIN_S)

    def _may_explore(self) -> bool:
        if self._weights.actor is None or self._uploader.stats().depth > MAX_UNDELIVERED:
            return False
        return self._explorer.scarce or self._rate_limiter.may_explore()

    def _current_stats(self) -> ExplorerStats:
        return ExplorerStats(
            **msgspec.structs.asdict(self._explorer.counts),
            refused_weights=self._weights.refused,
            weights_version=self._weights.version,
            target_classes=self._explorer.target_classes,
            target_successes=self._explorer.target_successes,
        )


def rows_per_weights(learner: LearnerConfig) -> int:
    """Rows that all explorers together may make of one set of live weights.

    With PPO four times those of an update: tries, samples of new tasks and known tasks come mixed. Either of the first
    two is to suffice for one.
    """
    return 4 * int(learner.ppo.over(FLEET_PPO).n_steps) if learner.algo == "ppo" else ROWS_PER_WEIGHTS


def practices_one_way(learner: LearnerConfig) -> bool:
    """Whether tries repeat one way: PPO clones them where it imitates; SAC's critics learn from variety."""
    return learner.algo == "ppo" and learner.ppo.over(FLEET_PPO).imitation_utd_ratio > 0


def explorer_name(index: int) -> str:
    """Name of an explorer, as records and statistics show it."""
    return f"explorer_{index + 1}"


def main(argv: list[str] | None = None) -> int:
    """Run an explorer until SIGINT or SIGTERM; raises `FloopError` for what a user can correct."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="explorer", description="Act on the learner's live weights in simulation.")
    parser.add_argument("--index", type=int, default=0, help="which explorer this is, from 0")
    arguments, config = read_arguments(parser, argv)
    if not 0 <= arguments.index < max(1, config.explorer_count):
        names = [str(i) for i in range(config.explorer_count)]
        raise UnknownName("explorer index", arguments.index, names, str(arguments.config))
    with contextlib.closing(ExplorerProcess(config, arguments.index)) as process:
        process.run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(enter(["explorer", *sys.argv[1:]]))
