"""The fleet manager: registry, roll-out and live watch, wired.

Baseline, accepted candidates and operators' bundles → registry → broadcast → robots → receipts; what the robots then
achieve → journal → tail → live watch → confirmed, or rolled back.
"""

from __future__ import annotations

import argparse
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from floop_robot.bundle import Bundle
from floop_robot.deploy import FleetRequestHandler, FleetServer, LiveBatch
from floop_robot.deploy.registry import JournalPosition, LiveEpisode, LiveLabel, Registry
from floop_robot.durable.run_lock import RunLock
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services.entry import run as enter
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block, RecordKind
from floop_robot.stream.tail_client import TailBlock, TailClient, TailError, TailFilter

log = logging.getLogger(__name__)

REGISTRY_FILE = "registry.sqlite"
_TAIL_WAIT_S = 0.2
_QUEUED_BATCHES = 16
"""A server that is this far behind lets the tail wait: the journal keeps the rest."""


class TelemetryFollower:
    """Follows the journal in a thread of its own and turns what robots report into `LiveBatch`es."""

    def __init__(self, endpoint: str, read: JournalPosition, clock: Callable[[], int]) -> None:
        """`read`: how far the journal was taken in before; `clock` stamps what is seen, wall-clock nanoseconds."""
        self._endpoint, self._read, self._clock = endpoint, read, clock
        self._batches: queue.Queue[LiveBatch] = queue.Queue(_QUEUED_BATCHES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fleet-tail")

    def __enter__(self) -> TelemetryFollower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def take(self) -> LiveBatch | None:
        """The next batch, None when there is none yet."""
        try:
            return self._batches.get_nowait()
        except queue.Empty:
            return None

    def _follow(self) -> None:
        wanted = TailFilter(kinds=RecordKind.EPISODE_END | RecordKind.LABEL)
        read = self._read
        while not self._stop.is_set():
            client = TailClient(self._endpoint, wanted, after=read.through, journal_id=read.journal_id)
            try:
                while not self._stop.is_set():
                    self._put(self._batch(client.poll(_TAIL_WAIT_S), client))
                    read = JournalPosition(client.position, client.journal_id)
            except TailError as error:
                log.warning("fleet manager: %s", error)
                read = (
                    JournalPosition()
                )  # another journal: from its start; episodes seen before are known by their keys
                self._stop.wait(1.0)
            finally:
                client.close()

    def _batch(self, blocks: list[TailBlock], client: TailClient) -> LiveBatch | None:
        now_ns = self._clock()
        episodes = tuple(seen for found in blocks for seen in _episodes(found.block, found.id, now_ns))
        labels = tuple(seen for found in blocks for seen in _labels(found.block))
        if not episodes and not labels:
            return None
        return LiveBatch(episodes, JournalPosition(client.position, client.journal_id), labels)

    def _put(self, batch: LiveBatch | None) -> None:
        while batch is not None and not self._stop.is_set():
            try:
                self._batches.put(batch, timeout=_TAIL_WAIT_S)
                return
            except queue.Full:
                continue


def _episodes(block: Block, number: int, now_ns: int) -> list[LiveEpisode]:
    return [
        LiveEpisode(
            robot=block.info.robot,
            boot_id=block.info.boot_id,
            episode=end.episode,
            block=number,
            source=block.info.source,
            version=end.policy_version,
            act_mode=end.act_mode,
            outcome=end.outcome,
            object_class=end.work.object_class,
            duration_s=end.duration_s,
            steps=end.steps,
            observed_ns=now_ns,
        )
        for end in block.ends
    ]


def _labels(block: Block) -> list[LiveLabel]:
    return [
        LiveLabel(
            robot=block.info.robot,
            boot_id=block.info.boot_id,
            seq=label.seq,
            episode_boot_id=label.episode_boot_id,
            episode=label.episode,
            success=label.success,
            author=label.author,
        )
        for label in block.labels
    ]


def registry_path(config: FloopConfig) -> Path:
    """Where the fleet's registry lies."""
    return Path(config.run_dir) / REGISTRY_FILE


def baseline_path(config: FloopConfig) -> Path:
    """The bundle to start from: the configured one, else the one shipped for the task."""
    if config.baseline:
        return Path(config.baseline)
    from floop_policies import baseline

    return baseline(config.task)


def nondecreasing_clock(registry: Registry) -> Callable[[], int]:
    """Wall-clock nanoseconds that never go back, not even behind what an earlier manager stamped.

    So no correction of the wall clock, with or without a restart, ends a watch, keeps one from ending, or makes a stage
    of the TTI negative.
    """
    offset_ns = max(time.time_ns(), registry.latest_ns()) - time.monotonic_ns()
    return lambda: time.monotonic_ns() + offset_ns


def run(config: FloopConfig, stop: threading.Event) -> None:
    """Serve until `stop`; raises `FloopError` when ports, registry or baseline can't be used."""
    rules = get_task(config.task)
    ids = ids_of(rules, load_robot(config.robot.model))
    operators = OperatorTokens(Path(config.operators) if config.operators else None)
    registry, run_lock = Registry(registry_path(config)), RunLock(Path(config.run_dir))
    try:
        clock = nondecreasing_clock(registry)
        fleet = FleetRequestHandler(registry, config.deploy, rules.spec, ids, clock, operators)
        fleet.register_robots(config.robot_names)
        server = FleetServer(fleet, config.endpoints.fleet, config.endpoints.fleet_rpc)
        try:
            if not fleet.started:
                fleet.publish_baseline(Bundle.load(baseline_path(config)))
            log.info("fleet manager: epoch %d on %s and %s", registry.epoch, *server.endpoints)
            with TelemetryFollower(config.endpoints.tail, registry.telemetry.journal_position, clock) as feed:
                server.run(feed, stop)
        finally:
            server.close()
    finally:
        registry.close()
        run_lock.release()


def main(argv: list[str] | None = None) -> int:
    """Run the fleet manager until SIGINT or SIGTERM; errors that a user can mend are raised as `FloopError`."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="fleet_manager", description="Registry, roll-out and live watch of a fleet.")
    _, config = read_arguments(parser, argv)
    run(config, stop)
    return 0


if __name__ == "__main__":
    sys.exit(enter(["fleet_manager", *sys.argv[1:]]))
