"""The fleet manager as a real process: killed, doubled, misconfigured, and fed by a real ingest."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from floop_robot.deploy.deployment_monitor import Tally
from floop_robot.deploy.registry import Origin, Registry, read_history
from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.services.fleet_clock import FleetClock
from floop_robot.services.fleet_manager import registry_path
from floop_robot.spec.config import DeployConfig, Endpoints, FloopConfig, save_config
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import ActMode, EpisodeEnd, Label, ObjectReport, OutcomeCode, Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.journal_follower import EPISODES, JournalFollower
from floop_robot.stream.uploader import RecordUploader
from tests.support.in_process_fleet import OperatorClient, Robot, verdict
from tests.support.ports import free_base_port
from tests.support.sample_bundles import make_bundle
from tests.support.waiting import wait_for

HOUR_NS = 3_600_000_000_000
ROOT = Path(__file__).parents[2]
RULES = get_task("floop/Pick-v0")
TASK, IDS = RULES.spec, ids_of(RULES, load_robot("panda"))


def policy(seed: int):
    return make_bundle(seed, task=TASK, ids=IDS)


def test_time_goes_on_where_the_manager_before_stamped_ahead_of_a_corrected_clock(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry.sqlite")
    assert abs(FleetClock(registry.latest_ns())() - time.time_ns()) < HOUR_NS
    ahead = time.time_ns() + HOUR_NS
    registry.note("ann", "looked", ahead)
    clock = FleetClock(registry.latest_ns())
    assert ahead <= clock() <= clock() < ahead + HOUR_NS
    registry.close()


class Processes:
    """A fleet manager (and ingest) of its own ports and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        policy(0).save(folder / "base.floop")
        self.config = FloopConfig(
            run_dir=str(folder / "run"),
            baseline=str(folder / "base.floop"),
            endpoints=Endpoints(base_port=free_base_port()),
            deploy=DeployConfig(heartbeat_s=0.1),
        )
        self.running: list[subprocess.Popen[bytes]] = []

    def write(self, name: str = "floop.yaml", **changes) -> Path:
        path = self.folder / name
        save_config(msgspec.structs.replace(self.config, **changes), path)
        return path

    def start(self, process: str = "fleet_manager", config: Path | None = None) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "floop_robot.services.entry", process]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "envs"), str(ROOT / "policies")])
        started = subprocess.Popen(
            [*command, "--config", str(config or self.write())],
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": paths},
        )
        self.running.append(started)
        return started

    def client(self, timeout_s: float = 20.0) -> OperatorClient:
        return OperatorClient(
            self.config.endpoints.fleet_rpc, "anna@bench", timeout_s, run_dir=Path(self.config.run_dir)
        )

    def end(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def processes(tmp_path):
    made = Processes(tmp_path)
    yield made
    made.end()


def fails_with_one_line(process: subprocess.Popen[bytes]) -> str:
    _, errors = process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    lines = errors.decode().strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("fleet_manager: "), lines
    return lines[0]


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_sigkill_loses_no_answered_command_and_robots_converge(processes, tmp_path, kills):
    endpoints = processes.config.endpoints
    robots = [Robot(tmp_path, f"robot_{i}", endpoints.fleet, endpoints.fleet_rpc, TASK, IDS) for i in (1, 2)]
    rng, done, back_s = random.Random(3), [], []
    manager = processes.start()
    try:
        with processes.client(60.0) as client, ThreadPoolExecutor(1) as pool:
            client.status()
            for number in range(1, kills + 1):
                pushing = pool.submit(client.push, policy(number))
                with contextlib.suppress(TimeoutError):
                    pushing.result(0.02 * rng.random())  # killed before, within or after the command
                manager.send_signal(signal.SIGKILL)
                manager.wait()
                killed_s = time.monotonic()
                manager = processes.start()
                done.append(pushing.result(30))
                client.status()
                back_s.append(time.monotonic() - killed_s)
            production = client.status().production
            for robot in robots:
                wait_for(lambda r=robot: r.policy_buffer.acting == production, what="all robots on the last version")
            assert all(robot.notices == [] for robot in robots)
    finally:
        for robot in robots:
            robot.stop()
    manager.send_signal(signal.SIGTERM)
    assert manager.wait(10) == 0
    history = read_history(registry_path(processes.config))
    assert [v.version for v in history.versions] == list(range(1, len(history.versions) + 1))
    weights = [v.sha256 for v in history.versions]
    assert len(weights) == kills + 1 == len(set(weights))  # every command was carried out, and none twice
    for number, answer in enumerate(done, 1):
        assert weights[answer.version - 1] == policy(number).manifest.sha256
    assert max(back_s) < 5.0


def test_a_second_fleet_manager_is_refused_and_the_first_goes_on(processes):
    first = processes.start()
    with processes.client() as client:
        client.status()
        other_ports = processes.write("other.yaml", endpoints=Endpoints(base_port=free_base_port()))
        assert "in use by another process" in fails_with_one_line(processes.start(config=other_ports))
        other_folder = processes.write("folder.yaml", run_dir=str(processes.folder / "other"))
        line = fails_with_one_line(processes.start(config=other_folder))
        assert str(processes.config.endpoints.base_port + 4) in line and "base_port" in line
        assert read_history(processes.folder / "other" / "registry.sqlite").versions == ()
        assert client.push(policy(1)).version == 2
    first.send_signal(signal.SIGINT)
    stopped_s = time.monotonic()
    assert first.wait(10) == 0
    assert time.monotonic() - stopped_s < 4


def test_a_baseline_that_does_not_fit_is_one_line(processes):
    base = Path(processes.config.baseline)
    base.write_bytes(base.read_bytes()[:-100])
    assert "base.floop" in fails_with_one_line(processes.start())
    make_bundle(0).save(base)  # of another task
    assert TASK.id in fails_with_one_line(processes.start())
    base.unlink()
    assert "check the path" in fails_with_one_line(processes.start())
    policy(0).save(base)
    processes.start()
    with processes.client() as client:
        assert client.status().production == 1


def test_a_new_baseline_does_not_replace_what_the_registry_has(processes):
    registry = processes.start()
    with processes.client() as client:
        client.push(policy(1))
        registry.kill()
        registry.wait()
        policy(9).save(Path(processes.config.baseline))
        processes.start()
        status = client.status()
        assert (status.production, status.baseline) == (2, 1)
        assert client.fetch(1).tensors == policy(0).tensors


def episode(number: int, version: int, success: bool) -> EpisodeEnd:
    return EpisodeEnd(
        seq=0,
        episode=number,
        stamp_ns=time.time_ns(),
        policy_version=version,
        act_mode=ActMode.MEAN,
        steps=30,
        duration_s=1.5,
        total_reward=1.0,
        outcome=OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
        final_obs=TASK.observation.low,
        object=ObjectReport("box", (0.04, 0.05, 0.06), (0.5, 0.0, 0.03), 0.3),
    )


def test_live_outcomes_come_from_the_journal_and_roll_back(processes, tmp_path):
    processes.start("ingest")
    manager = processes.start()
    endpoint = processes.config.endpoints.ingest
    infos = [
        StreamInfo(name, "", TASK.id, IDS, source)
        for name, source in (("robot_1", Source.ROBOT), ("explorer_1", Source.EXPLORER))
    ]
    robot, explorer = (RecordUploader(tmp_path / info.robot, info, endpoint) for info in infos)
    try:
        with processes.client() as client:
            client.status()
            for number in range(40):
                robot.put(episode(number, 1, True))
                explorer.put(episode(number, 1, False))

            def tally():
                live = client.status().live[0].classes.get("box")
                return (live.successes, live.episodes) if live else None

            wait_for(lambda: tally() == (40, 40), what="the manager has seen the episodes")
            bundle = policy(1)
            assert client.submit(bundle, verdict(bundle)).version == 2
            for number in range(40, 43):
                robot.put(episode(number, 2, number > 40))
            wait_for(lambda: client.status().watch.classes[0].tally.episodes == 3)
            manager.kill()
            manager.wait()
            for number in range(43, 60):
                robot.put(episode(number, 2, False))
            processes.start()
            wait_for(lambda: client.status().production == 3, what="rolled back after the restart")
            assert tally() == (40, 40)
            last = client.policies().versions[-1]
            assert (last.origin, last.restores) == (Origin.ROLLBACK, 1)
    finally:
        robot.close()
        explorer.close()


def test_labels_come_from_the_journal_to_watch_gate_and_explorers(processes, tmp_path):
    processes.start("ingest")
    processes.start()
    endpoints = processes.config.endpoints
    robot = RecordUploader(
        tmp_path / "robot_1", StreamInfo("robot_1", "", TASK.id, IDS, Source.ROBOT), endpoints.ingest
    )
    failures = FailureMonitor()
    try:
        with processes.client() as client, JournalFollower(endpoints.tail, EPISODES) as journal:

            def counted() -> set[tuple[int, int]]:
                for found in journal.poll():
                    failures.take(found.block.info, found.block.ends, found.block.labels)
                live = client.status().live[0].classes.get("box", Tally())
                return {failures.success("box"), (live.successes, live.episodes)}

            for number in range(6):
                robot.put(episode(number, 1, True))
            wait_for(lambda: counted() == {(6, 6)}, what="the robot's own outcomes")
            for number in (0, 1, 2, 4):
                robot.put(
                    Label(
                        seq=0,
                        stamp_ns=1,
                        episode_boot_id=robot.info.boot_id,
                        episode=number,
                        success=number == 4,
                        author="ann",
                    )
                )
            wait_for(lambda: counted() == {(3, 6)}, what="the outcomes as labelled")
            assert failures.failing == ("box",)
    finally:
        robot.close()


def test_the_registry_can_be_opened_after_a_clean_end(processes):
    manager = processes.start()
    with processes.client() as client:
        client.status()
    manager.send_signal(signal.SIGTERM)
    assert manager.wait(10) == 0
    registry = Registry(registry_path(processes.config))
    assert [v.origin for v in registry.versions()] == [Origin.BASELINE]
    registry.close()
