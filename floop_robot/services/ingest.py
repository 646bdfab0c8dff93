"""The ingest process: takes records in, writes the journal, serves its tail. It imports little and starts at once."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
from pathlib import Path

import zmq

from floop_robot.durable.known_secrets import KnownSecrets
from floop_robot.services.entry import run as enter
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.tasks import get_task
from floop_robot.stream.ingest import Ingest, IngestStats
from floop_robot.stream.journal import JOURNAL_FILE, Journal, JournalReplaced
from floop_robot.stream.journal_retention import JournalLimits
from floop_robot.stream.tail_server import TailServer

log = logging.getLogger(__name__)

SWITCH_S = 0.001
"""Longest that the tail's thread or the guard's keeps the one that takes records in from going on."""
TICK_S = 0.2
"""Longest wait before it looks at its stop signal."""


class Senders:
    """Who may record as a robot of the fleet: the first that showed a secret under its name.

    Ingest keeps its own list, not the fleet manager's: robots of an earlier floop show ingest no secret.
    """

    def __init__(self, config: FloopConfig) -> None:
        self._robots = set(config.robot_names)
        self._known = KnownSecrets(Path(config.run_dir) / "secrets" / "senders")

    def refusal(self, name: str, secret: str) -> str:
        """Why whoever shows this may not record under a name; empty if it may. Raises `StorageError`.

        Other names, as those of explorers, are open to all: made-up ones must leave no files.
        """
        return self._known.refusal(name, secret) if name in self._robots else ""


def run(config: FloopConfig, stop: threading.Event) -> None:
    """Serve until `stop` is set; raises `FloopError` when port or journal can't be used."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    limits = JournalLimits(config.storage.journal_gb * 1e9, config.storage.journal_days * 86400.0)
    journal = Journal(Path(config.run_dir) / JOURNAL_FILE, limits)
    try:
        senders = Senders(config)
        ingest = Ingest(journal, config.endpoints.ingest, get_task(config.task).spec, senders.refusal)
        try:
            tail = TailServer(journal.path, journal.id, config.endpoints.tail, context)
            try:
                stats = StatsFile[IngestStats](Path(config.run_dir), "ingest")
                log.info("ingest: %s on %s, tail on %s", journal.path, ingest.endpoint, tail.endpoint)
                while not stop.is_set():
                    if ingest.step(TICK_S):
                        tail.notify()
                    ingest.maintain()
                    stats.write(ingest.stats)
                stats.write(ingest.stats, force=True)
            finally:
                tail.close()
        finally:
            ingest.close()
    finally:
        journal.close()
        context.destroy(linger=0)


def main(argv: list[str] | None = None) -> int:
    """Run the ingest process until SIGINT or SIGTERM; raises `FloopError` for what a user can correct."""
    sys.setswitchinterval(SWITCH_S)
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="ingest", description="Take in records, keep the journal, serve its tail.")
    _, config = read_arguments(parser, argv)
    try:
        run(config, stop)
    except JournalReplaced as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(enter(["ingest", *sys.argv[1:]]))
