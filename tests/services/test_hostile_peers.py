"""Hostile peers against real processes: none aborts, starves or fills them, and honest rows are acknowledged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Heartbeat, NameRefusal, Refusal, Target
from floop_robot.deploy import FleetClient, SubmissionResult
from floop_robot.deploy.messages import CandidateSubmission
from floop_robot.deploy.peer_secrets import site_secret
from floop_robot.spec.verdict import Decision, Verdict
from floop_robot.stream.uploader import RecordUploader
from tests.support.cli_in_process import PICK
from tests.support.sample_records import stream_info, transition
from tests.support.small_fleet import SmallFleet
from tests.support.stream_processes import IngestProcess
from tests.support.waiting import wait_for

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "hostile_peers.py"
ATTACK_S = 1.2
MAX_MB = 400
"""Some 50 MB are the process itself."""


def attack(kind: str, endpoint: str) -> None:
    command = [sys.executable, str(SCRIPT), "--attack", kind, endpoint.rpartition(":")[2], str(ATTACK_S)]
    subprocess.run(command, check=True, timeout=60)


def memory_mb(pid: int) -> float:
    """Most that a process ever had."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1000


@pytest.mark.timeout(120)
def test_ingest_outlives_hostile_peers_and_serves_the_honest_one(tmp_path: Path) -> None:
    ingest = IngestProcess(tmp_path)
    assert ingest.process is not None
    out = RecordUploader(tmp_path / "robot_1", stream_info(), ingest.config.endpoints.ingest, sync_interval_s=0.01)
    try:
        put = 0
        kinds = ("ask_and_close", "endless_parts", "endless_small_parts", "large_blocks", "names", "junk")
        for kind in (*kinds, "very_many_parts"):  # last: its sender is refused from then on
            attack(kind, ingest.config.endpoints.ingest)
            for _ in range(20):
                out.put(transition(put))
                put += 1
            assert out.drain(20), kind
            assert ingest.process.poll() is None, kind
            assert memory_mb(ingest.process.pid) < MAX_MB, kind
        attack("fetch_and_read_nothing", ingest.config.endpoints.tail)
        assert memory_mb(ingest.process.pid) < MAX_MB
        assert out.stats().sender.forks == 0
        assert "hung up on 127.0.0.2" in ingest.log.read_text()
        assert "ingest: no new connections from 127.0.0.2 for 60 s" in ingest.log.read_text()
    finally:
        out.close()
        ingest.kill()


@pytest.mark.timeout(180)
def test_the_fleet_manager_outlives_hostile_peers_and_takes_orders_from_nobody_else(tmp_path: Path) -> None:
    with SmallFleet(tmp_path, Bundle.load(PICK), robots=1, explorers=0) as fleet:
        fleet.start("ingest", "fleet_manager")
        wait_for(fleet.status, 60, "the fleet manager")
        endpoints, process = fleet.config.endpoints, fleet.processes["fleet_manager"]
        for kind, endpoint in (
            ("heartbeats", endpoints.fleet_rpc),
            ("candidates", endpoints.fleet_rpc),
            ("ask_and_read_nothing", endpoints.fleet_rpc),
            ("ask_and_close", endpoints.fleet_rpc),
            ("subscriptions", endpoints.fleet),
        ):
            attack(kind, endpoint)
            assert process.poll() is None, kind
            assert memory_mb(process.pid) < MAX_MB, kind
        status = wait_for(fleet.status, 20, "an answer after the attacks")
        assert len(status.robots) <= 256 and "robot_1" in [robot.robot for robot in status.robots]
        forged_verdict(fleet)


def forged_verdict(fleet: SmallFleet) -> None:
    bundle = Bundle.load(PICK)
    verdict = Verdict(
        decision=Decision.ACCEPTED,
        reason="trust me",
        candidate_sha256=bundle.manifest.sha256,
        incumbent_version=1,
        suites=(),
        seed=1,
        alpha=0.05,
        duration_s=1.0,
    )
    forged = CandidateSubmission(who="gate", verdict=verdict, bundle=bundle.to_bytes())
    beat = Heartbeat(robot="robot_1", boot_id="b", contract="c", version=1, secret="the robot's own")
    stranger = Heartbeat(robot="robot_1", boot_id="b", contract="c", version=1, secret="another")
    run_dir = Path(fleet.config.run_dir)
    with FleetClient(fleet.config.endpoints.fleet_rpc) as client:
        refused = client.try_ask(forged, (SubmissionResult, Refusal), 10)
        assert isinstance(refused, Refusal) and "without this site's secret" in refused.reason
        assert isinstance(client.try_ask(beat, (Target, NameRefusal), 10), Target)
        assert isinstance(client.try_ask(stranger, (Target, NameRefusal), 10), NameRefusal)
        notes = client.status().notes
        assert any("a verdict of 'gate' was refused" in note for note in notes)
        assert any("without the secret of robot_1" in note and "delete" in note for note in notes)
        told = CandidateSubmission(who="gate", verdict=verdict, bundle=bundle.to_bytes(), secret=site_secret(run_dir))
        assert isinstance(client.try_ask(told, (SubmissionResult, Refusal), 10), SubmissionResult)
    for name in ("site", "robots"):
        assert (run_dir / "secrets" / name).exists()
    assert (run_dir / "secrets" / "site").stat().st_mode & 0o777 == 0o600
