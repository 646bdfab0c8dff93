"""The gate as a process: real sockets, a real fleet manager, a real journal, kill -9."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
import zmq

from floop_robot.deploy.peer_secrets import site_secret
from floop_robot.gate.report_log import read_reports
from floop_robot.services.gate import CandidateReply, GateStats
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.records import ActMode, Source
from floop_robot.spec.verdict import Decision
from tests.support.sample_policies import clumsy, collapsed, episode_end, skilled
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0


class Learner:
    """The learner's end of the gate's socket."""

    def __init__(self, endpoint: str, secret: str) -> None:
        self.secret = secret
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def ask(self, blob: bytes, secret: str | None = None) -> CandidateReply:
        self.socket.send_multipart([(self.secret if secret is None else secret).encode(), blob])
        return self.answer()

    def answer(self) -> CandidateReply:
        assert self.socket.poll(int(1000 * WAIT_S)), "the gate does not answer"
        return msgspec.msgpack.decode(self.socket.recv(), type=CandidateReply)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with SmallFleet(tmp_path, clumsy()) as fleet:
        fleet.start("ingest", "fleet_manager", "gate")
        yield fleet


@pytest.fixture
def learner(fleet: SmallFleet) -> Iterator[Learner]:
    learner = Learner(fleet.config.endpoints.gate, site_secret(Path(fleet.config.run_dir)))
    yield learner
    learner.context.destroy(0)


def figures(fleet: SmallFleet) -> GateStats | None:
    found = read_stats(Path(fleet.config.run_dir), "gate", GateStats)
    return found[-1] if found else None


def test_reports_candidate_verdict_version(fleet: SmallFleet, learner: Learner) -> None:
    fleet.report([episode_end("cylinder", success=i % 2 == 0, episode=i) for i in range(12)])
    wait_for(
        lambda: (f := figures(fleet)) and f.incumbent == 1 and f.target_tasks.classes,
        WAIT_S,
        "incumbent and target_tasks",
    )
    good = skilled()
    assert learner.ask(good.to_bytes()) == CandidateReply(good.manifest.sha256, True)
    verdict = learner.answer().verdict
    assert verdict is not None
    assert verdict.decision is Decision.ACCEPTED, verdict.reason
    status = wait_for(lambda: (s := fleet.status()) and s.production == 2 and s, WAIT_S, "the new version")
    assert status.accepted == 1
    # The gate compares with the new version from now on.
    wait_for(lambda: (f := figures(fleet)) and f.incumbent == 2 and f.acknowledged == 1, WAIT_S, "the new incumbent")
    same = learner.ask(good.to_bytes())
    assert not same.taken and same.reason.endswith("nothing is judged (v2 in production)")
    refused = learner.ask(b"no bundle at all")
    assert not refused.taken
    stranger = learner.ask(good.to_bytes(), secret="made up")
    assert not stranger.taken and "without this site's secret" in stranger.reason
    wait_for(lambda: (f := figures(fleet)) and f.strangers == 1, WAIT_S, "the stranger being counted")
    assert "\n" not in refused.reason
    assert fleet.stop("gate", signal.SIGINT) == 0
    (report,) = read_reports(Path(fleet.config.run_dir) / "gate")
    assert report.verdict.decision is Decision.ACCEPTED


def test_explorers_and_sampled_episodes_make_no_target_task(fleet: SmallFleet) -> None:
    bad = [episode_end("cylinder", success=False, episode=i) for i in range(6)]
    fleet.report(bad, "explorer_1", Source.EXPLORER)
    fleet.report([msgspec.structs.replace(e, act_mode=ActMode.SAMPLE) for e in bad], "robot_2")
    fleet.report([episode_end("box", success=False, episode=i) for i in range(6)])
    target_tasks = wait_for(lambda: (f := figures(fleet)) and f.target_tasks.classes, WAIT_S, "target_tasks")
    assert target_tasks == ("box",)


def test_killed_gate_resumes_within_five_seconds_and_leaves_no_worker(fleet: SmallFleet, learner: Learner) -> None:
    fleet.report([episode_end("cylinder", success=i % 2 == 0, episode=i) for i in range(12)])
    wait_for(lambda: (f := figures(fleet)) and f.incumbent == 1, WAIT_S, "the incumbent")
    assert learner.ask(skilled().to_bytes()).taken
    workers = psutil.Process(fleet.processes["gate"].pid).children()
    assert workers
    fleet.kill("gate")
    before = time.monotonic()
    fleet.start("gate")
    wait_for(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers), 10, "their end")
    ready = lambda: (f := figures(fleet)) and f.incumbent == 1 and f.target_tasks.classes  # noqa: E731
    log = Path(fleet.config.run_dir) / "stats" / f"gate~{fleet.processes['gate'].pid}.stats"
    wait_for(lambda: log.exists() and ready(), WAIT_S, "the gate to be back")
    resumed_s = time.monotonic() - before
    assert learner.ask(skilled().to_bytes()).taken
    assert learner.answer().verdict is not None
    assert resumed_s < 5.0


def test_verdicts_wait_for_a_fleet_manager_that_is_away(fleet: SmallFleet, learner: Learner) -> None:
    wait_for(lambda: (f := figures(fleet)) and f.incumbent == 1, WAIT_S, "the incumbent")
    fleet.kill("fleet_manager")
    assert learner.ask(collapsed().to_bytes()).taken
    verdict = learner.answer().verdict
    assert verdict is not None
    assert verdict.decision is Decision.REJECTED
    fleet.start("fleet_manager")
    status = wait_for(lambda: (s := fleet.status()) and s.rejected == 1 and s, WAIT_S, "the verdict")
    assert status.production == 1


def test_a_taken_port_is_one_line(fleet: SmallFleet, tmp_path: Path) -> None:
    wait_for(lambda: figures(fleet), WAIT_S, "the first gate")
    first = fleet.processes["gate"]
    fleet.start("gate")
    assert fleet.processes["gate"].wait(WAIT_S) == 2
    assert fleet.log("gate").strip().splitlines()[-1].startswith("gate: the gate cannot listen on tcp://")
    fleet.processes["first"] = first
    assert first.poll() is None
