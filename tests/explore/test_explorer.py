"""Explorers as processes: live weights in, sampled records out, most of reported tasks, at the learner's pace."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zmq

from floop_robot.explore.rate_limiter import PATIENCE_S
from floop_robot.services.explorer import ROWS_PER_WEIGHTS, ExplorerStats
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.records import ActMode, EpisodeEnd, Source
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block
from floop_robot.stream.tail_client import TailClient, TailFilter
from tests.support.sample_policies import TASK, episode_end, published, skilled
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0


class Publisher:
    """The learner's weights socket."""

    def __init__(self, endpoint: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)  # tells when somebody listens
        self.socket.bind(endpoint)

    def publish(self, version: int) -> None:
        self.socket.send(published(skilled(), version).to_bytes())

    def wait_for_listener(self) -> None:
        assert self.socket.poll(int(1000 * WAIT_S)), "nobody listens"
        self.socket.recv()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with SmallFleet(tmp_path, skilled()) as fleet:
        fleet.start("ingest")
        yield fleet


@pytest.fixture
def publisher(fleet: SmallFleet) -> Iterator[Publisher]:
    publisher = Publisher(fleet.config.endpoints.weights)
    yield publisher
    publisher.context.destroy(0)


def figures(fleet: SmallFleet) -> ExplorerStats:
    found = read_stats(Path(fleet.config.run_dir), "explorer_1", ExplorerStats)
    return found[-1] if found else ExplorerStats()


def written_ns(fleet: SmallFleet) -> int:
    """When the explorer last wrote its figures."""
    return max(path.stat().st_mtime_ns for path in (Path(fleet.config.run_dir) / "stats").glob("explorer_1~*.stats"))


def explored(fleet: SmallFleet) -> list[Block]:
    """Every block that explorers brought, once nothing new comes."""
    client = TailClient(fleet.config.endpoints.tail, TailFilter(sources=(int(Source.EXPLORER),)))
    blocks: list[Block] = []
    try:
        while found := client.poll(0.5):
            blocks.extend(f.block for f in found)
    finally:
        client.close()
    return blocks


def test_explorer_acts_on_live_weights_and_reports_like_a_robot(fleet: SmallFleet, publisher: Publisher) -> None:
    fleet.report([episode_end("basket", success=False, episode=i) for i in range(6)])
    fleet.start("explorer")
    publisher.wait_for_listener()
    publisher.publish(7)
    wait_for(lambda: figures(fleet).episodes > 0, WAIT_S, "the first episode")
    for version in range(8, 18):
        before = figures(fleet).transitions
        publisher.publish(version)
        wait_for(lambda before=before: figures(fleet).transitions > before, WAIT_S, "more rows")
    assert fleet.stop("explorer") == 0
    blocks = explored(fleet)
    rows = [r for b in blocks if b.transitions is not None for r in (b.transitions,)]
    versions = np.concatenate([r.policy_version for r in rows])
    assert {7, 17} <= set(versions.tolist()) <= set(range(7, 18))
    sampled = np.concatenate([r.act_mode for r in rows]) == ActMode.SAMPLE
    assert np.isfinite(np.concatenate([r.log_prob for r in rows])[sampled]).all()
    ends: list[EpisodeEnd] = [e for b in blocks for e in b.ends]
    assert all(e.act_mode in (ActMode.SAMPLE, ActMode.TRIAL) and e.truth is None for e in ends)
    assert all(e.object.object_class == "basket" for e in ends if e.act_mode is ActMode.TRIAL)
    assert sum(e.steps for e in ends) == len(versions) == figures(fleet).transitions
    classes = {e.object.object_class for e in ends}
    assert "basket" in classes, "nothing of the reported tasks"
    assert classes & {"box", "cylinder"}, "nothing of known tasks"
    assert len({e.episode for e in ends}) == len(ends)


def test_explorer_waits_for_the_learner(fleet: SmallFleet, publisher: Publisher) -> None:
    fleet.start("explorer")
    publisher.wait_for_listener()
    began_s = time.monotonic()
    publisher.publish(1)
    steps = get_task(TASK).spec.max_steps
    wait_for(lambda: figures(fleet).transitions >= ROWS_PER_WEIGHTS, WAIT_S, "its rows")
    for _ in range(3):  # it writes its figures twice a second
        before = written_ns(fleet)
        wait_for(lambda before=before: written_ns(fleet) > before, WAIT_S, "new figures")
        rows = figures(fleet).transitions
        if time.monotonic() - began_s < PATIENCE_S:  # it is patient for so long, see test_rate_limiter.py
            assert rows < ROWS_PER_WEIGHTS + steps, "ran away from the learner"
    publisher.publish(2)
    wait_for(lambda: figures(fleet).transitions >= 2 * ROWS_PER_WEIGHTS, WAIT_S, "rows on the next weights")
    grants = 2 + (time.monotonic() - began_s) // PATIENCE_S
    assert fleet.stop("explorer", signal.SIGINT) == 0
    assert figures(fleet).transitions < grants * (ROWS_PER_WEIGHTS + steps), "ran away from the learner"


def test_damaged_weights_are_refused_and_the_last_ones_go_on(fleet: SmallFleet, publisher: Publisher) -> None:
    fleet.start("explorer")
    publisher.wait_for_listener()
    publisher.socket.send(b"not a bundle")
    publisher.publish(3)
    wait_for(lambda: figures(fleet).weights_version == 3, WAIT_S, "good weights")
    before = figures(fleet)
    publisher.socket.send(published(skilled(), 4).to_bytes()[:-1])
    wait_for(lambda: figures(fleet).refused_weights > before.refused_weights, WAIT_S, "the refusal")
    assert figures(fleet).weights_version == 3
    assert fleet.processes["explorer"].poll() is None


def test_a_killed_explorer_goes_on_within_five_seconds(fleet: SmallFleet, publisher: Publisher) -> None:
    fleet.start("explorer")
    publisher.wait_for_listener()
    publisher.publish(1)
    wait_for(lambda: any(b.ends for b in explored(fleet)), WAIT_S, "the first episode in the journal")
    fleet.kill("explorer")
    before = time.monotonic()
    fleet.start("explorer")
    assert publisher.socket.poll(int(1000 * WAIT_S))  # the old one's leaving
    while publisher.socket.recv()[:1] != b"\x01":
        assert publisher.socket.poll(int(1000 * WAIT_S)), "it does not come back"
    publisher.publish(2)
    stats = Path(fleet.config.run_dir) / "stats" / f"explorer_1~{fleet.processes['explorer'].pid}.stats"
    wait_for(lambda: stats.exists() and figures(fleet).transitions, WAIT_S, "rows after the restart")
    assert time.monotonic() - before < 5.0
    assert fleet.stop("explorer") == 0
    ends = [e for b in explored(fleet) for e in b.ends]
    assert {e.policy_version for e in ends} == {1, 2}
    assert len({e.episode for e in ends}) == len(ends)
