"""The fleet manager's main: registry, roll-out and deployment monitor, wired.

Baseline, accepted candidates and operators' bundles → registry → broadcast → robots → receipts.
Episodes of the robots → journal → tail → deployment monitor → confirmed, or rolled back.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.deploy import FleetRequestHandler, FleetServer, LiveBatch, RequestQueue
from floop_robot.deploy.fleet_stops import FleetStops
from floop_robot.deploy.peer_secrets import PeerSecrets
from floop_robot.deploy.registry import JournalPosition, LiveEpisode, LiveLabel, Registry, RegistryLimits
from floop_robot.durable.locks import RunLock
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services.entry import run as enter
from floop_robot.services.fleet_clock import FleetClock
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.services.storage_use import StorageWatch
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block
from floop_robot.stream.ingest import IngestStats
from floop_robot.stream.journal_follower import EPISODES, JournalFollower

log = logging.getLogger(__name__)

REGISTRY_FILE = "registry.sqlite"


class LiveTelemetry:
    """What robots report, read from the journal as `LiveBatch`es."""

    def __init__(self, endpoint: str, read: JournalPosition, clock: Callable[[], int]) -> None:
        """`read`: how far the journal was taken in before; `clock` stamps what is seen, wall-clock nanoseconds."""
        self._clock = clock
        # Another journal is read from its start: episodes seen before are known by their keys.
        self._journal = JournalFollower(
            endpoint, EPISODES, after=read.through, journal_id=read.journal_id, on_restart=lambda: None
        )

    def take(self) -> LiveBatch | None:
        """The next batch, None when there is none yet."""
        found, now_ns = self._journal.poll(), self._clock()
        episodes = tuple(seen for each in found for seen in live_episodes(each.block, each.id, now_ns))
        labels = tuple(seen for each in found for seen in live_labels(each.block))
        if not episodes and not labels:
            return None
        return LiveBatch(episodes, JournalPosition(self._journal.position, self._journal.journal_id), labels)

    def close(self) -> None:
        """Close the connection."""
        self._journal.close()


def live_episodes(block: Block, number: int, now_ns: int) -> list[LiveEpisode]:
    """Episodes that journal block `number` ends, seen at `now_ns` (wall clock)."""
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
            object_class=end.object.object_class,
            duration_s=end.duration_s,
            steps=end.steps,
            observed_ns=now_ns,
        )
        for end in block.ends
    ]


def live_labels(block: Block) -> list[LiveLabel]:
    """Labels that a journal block holds."""
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


class IngestNotes:
    """What ingest wants people to see, from its figures in the run directory."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def __call__(self) -> tuple[str, ...]:
        """Its lines; none where ingest runs on another host."""
        try:
            found = read_stats(self._run_dir, "ingest", IngestStats)
        except (OSError, msgspec.MsgspecError):  # it is being replaced
            return ()
        return found[-1].notes if found else ()


def registry_path(config: FloopConfig) -> Path:
    """Where the fleet's registry lies."""
    return Path(config.run_dir) / REGISTRY_FILE


def baseline_path(config: FloopConfig) -> Path:
    """The bundle to start from: the configured one, else the one shipped for the task and the algorithm."""
    if config.baseline:
        return Path(config.baseline)
    from floop_policies import baseline

    return baseline(config.task, config.learner.algo)


def run(
    config: FloopConfig,
    stop: threading.Event,
    requests: RequestQueue | None = None,
    stops: FleetStops | None = None,
) -> None:
    """Serve until `stop`; raises `FloopError` when ports, registry or baseline can't be used.

    `requests`: the queue that other threads of this process put their requests into; closed at the end.
    `stops`: how robots are stopped and reset; None without ROS.
    """
    rules = get_task(config.task)
    ids = ids_of(rules, load_robot(config.robot.model))
    operators = OperatorTokens(Path(config.operators) if config.operators else None)
    limits = RegistryLimits(config.storage.registry_gb * 1e9, config.storage.registry_days * 86400.0)
    registry, run_lock = Registry(registry_path(config), limits), RunLock(Path(config.run_dir))
    try:
        clock = FleetClock(registry.latest_ns())
        storage = StorageWatch(config)
        fleet = FleetRequestHandler(
            registry,
            config.deploy,
            rules.spec,
            ids,
            clock,
            operators.refusal,
            stops,
            storage.use,
            PeerSecrets(Path(config.run_dir)),
            IngestNotes(Path(config.run_dir)),
        )
        fleet.register_robots(config.robot_names)
        server = FleetServer(fleet, config.endpoints.fleet, config.endpoints.fleet_rpc, requests)
        try:
            if not fleet.started:
                fleet.publish_baseline(Bundle.load(baseline_path(config)))
            log.info("fleet manager: epoch %d on %s and %s", registry.epoch, *server.endpoints)
            telemetry = LiveTelemetry(config.endpoints.tail, registry.telemetry.journal_position, clock)
            with contextlib.closing(telemetry):
                server.run(telemetry, stop)
        finally:
            server.close()
    finally:
        registry.close()
        run_lock.release()


def main(argv: list[str] | None = None) -> int:
    """Run the fleet manager until SIGINT or SIGTERM; errors that a user can correct are raised as `FloopError`."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="fleet_manager", description="Registry, roll-out and live watch of a fleet.")
    _, config = read_arguments(parser, argv)
    run(config, stop)
    return 0


if __name__ == "__main__":
    sys.exit(enter(["fleet_manager", *sys.argv[1:]]))
