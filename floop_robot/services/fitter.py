"""The fitter process: a main around `fit.fitter.Fitter`.

journal ─▶ tail ─▶ what robots recorded ─▶ replays in PyBullet ─▶ fits of the simulator (source: fitter) ─▶ ingest

It idles unless a task fails that the shipped policy mastered. Gate, explorers and learner read its fits in the journal.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
from pathlib import Path

from floop_robot.fit.fitter import Fitter, FitterCounts
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.services.entry import run as enter
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.services.record_stream import open_stream
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.records import Source
from floop_robot.stream.journal_follower import ROBOT_ROWS, JournalFollower, SummaryStart

NAME = "fitter"
RECENT_BLOCKS = 20_000
"""Blocks that a restarted fitter reads again: they hold the latest episodes of each robot, which it compares."""
_WAIT_S = 0.2
_DRAIN_S = 1.0
"""Longest wait at the end for fits that ingest has not acknowledged."""


class FitterProcess:
    """The fitter and its connections; `run` works until its stop event is set."""

    def __init__(self, config: FloopConfig) -> None:
        """Raises `FloopError` when the run directory can't be used."""
        self._stats = StatsFile[FitterCounts](Path(config.run_dir), NAME)
        self._counted_to = 0
        with contextlib.ExitStack() as opened:
            self._uploader = open_stream(config, NAME, Source.FITTER, Path(config.run_dir) / NAME / "spool")
            opened.callback(self._uploader.close)
            self._fitter = Fitter(config.task, config.robot.model, self._uploader, config.seed)
            opened.callback(self._fitter.close)
            start = SummaryStart(self._begin_with, before=RECENT_BLOCKS)
            self._journal = JournalFollower(config.endpoints.tail, ROBOT_ROWS, start=start)
            opened.callback(self._journal.close)
            self._opened = opened.pop_all()

    def _begin_with(self, summary: FleetSummary, through: int) -> None:
        self._counted_to = through
        self._fitter.begin_with(summary)

    def run(self, stop: threading.Event) -> None:
        """Fit until `stop`."""
        works = False
        while not stop.is_set():
            found = self._journal.poll(0.0 if works else _WAIT_S)
            for each in found:
                self._fitter.take(each.block, is_counted=each.id <= self._counted_to)
            self._stats.write(self._fitter.counts)
            if found:  # read on first: what is fitted must not be yesterday's
                works = True
                continue
            works = self._fitter.step()
        self._stats.write(self._fitter.counts, force=True)

    def close(self) -> None:
        """Wait a moment for ingest, then close connections and simulator."""
        with self._opened:
            self._uploader.drain(_DRAIN_S)


def main(argv: list[str] | None = None) -> int:
    """Run the fitter until SIGINT or SIGTERM; raises `FloopError` for what a user can correct."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog=NAME, description="Fit the simulator to robots on which known tasks fail.")
    _, config = read_arguments(parser, argv)
    with contextlib.closing(FitterProcess(config)) as process:
        process.run(stop)
    return 0


if __name__ == "__main__":
    sys.exit(enter([NAME, *sys.argv[1:]]))
