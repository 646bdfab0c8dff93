"""Every long-running thread of the package, ended by an error: it works again, and says so in one line."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import zmq

from floop_robot.core import EpisodeJob
from floop_robot.deploy import FleetClient
from floop_robot.durable.owned_thread import OwnedThread, thread_restarts
from floop_robot.durable.stop_file import StopFile, StopFileWriter
from floop_robot.gate import process_pool
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.learn.status import LearnerStatus
from floop_robot.robot.estop_interface import EstopInterface
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.estop_socket import EstopServer, ReadEstop, ask_robot
from floop_robot.robot.ipc import link_folder
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services import entry, learner_watcher
from floop_robot.services.diagnostics import DiagnosticLevel, thread_diagnostics
from floop_robot.services.gate_fleet_client import GateFleetClient
from floop_robot.services.learner_watcher import LearnerWatcher
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.stats_file import StatsFile, read_thread_restarts
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import Endpoints, FloopConfig
from floop_robot.stream.journal import Journal
from floop_robot.stream.spool import Spool
from floop_robot.stream.spool_writer import SpoolWriter
from floop_robot.stream.stream_sender import StreamSender
from floop_robot.stream.tail_client import TailClient
from floop_robot.stream.tail_server import TailServer
from tests.support.fake_runners import scenario
from tests.support.in_process_fleet import ManagerThread, Robot, verdict
from tests.support.ports import free_base_port
from tests.support.sample_bundles import make_bundle
from tests.support.sample_records import journal_entry, stream_info, transition
from tests.support.waiting import wait_for


class Figures(msgspec.Struct, frozen=True):
    ticks: int


def fails(count: int, then: Any) -> Any:
    """A function that raises what nobody foresaw so many times, and then does its work."""
    left = [count]

    def call(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise ZeroDivisionError("nobody foresaw it")
        return then(*args, **kwargs)

    return call


def restarted(name: str) -> None:
    wait_for(lambda: thread_restarts().get(name), what=f"the restart of {name}")


@contextmanager
def no_more_files() -> Iterator[None]:
    """Meanwhile this process can open no file and accept no connection."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(socket.socket()) as probe:
        highest = probe.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_restarts_are_in_diagnostics_and_figures(tmp_path: Path) -> None:
    assert thread_diagnostics() == ()
    stop = threading.Event()
    thread = OwnedThread(fails(1, stop.wait), "digger", stop)
    thread.start()
    restarted("digger")
    [item] = thread_diagnostics()
    assert item.level is DiagnosticLevel.WARN and "digger 1 times" in item.message
    StatsFile[Figures](tmp_path, "robot_1.safety").write(Figures(1))
    assert read_thread_restarts(tmp_path, "robot_1.safety") == {"digger": 1}
    stop.set()
    thread.join()


def test_the_tail_server_answers_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        server = TailServer(journal.path, journal.id, "tcp://127.0.0.1:*", context)
        monkeypatch.setattr(server._reader, "read", fails(2, server._reader.read))
        client = TailClient(server.endpoint)
        journal.append([journal_entry(0, 3)])
        wait_for(lambda: [found.id for found in client.poll(0.5)] == [1], 20, "the block")
        assert thread_restarts() == {"tail-server": 2}
        client.close()
        server.close()
    context.term()


def test_the_stream_sender_sends_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool", stream_info(), 2**20)
    monkeypatch.setattr(spool, "stream", spool.stream)
    sender = StreamSender(spool, "tcp://127.0.0.1:1")
    monkeypatch.setattr(spool, "stream", fails(1, spool.stream))
    spool.wake()
    restarted("stream-sender")
    assert "ZeroDivisionError: nobody foresaw it" in sender.stats().error
    sender.close()
    spool.close()


def test_the_policy_updater_installs_again(tmp_path: Path) -> None:
    manager = ManagerThread(tmp_path)
    robot = Robot(tmp_path, "r1", announcements=manager.announcements, rpc=manager.rpc)
    try:
        wait_for(lambda: robot.policy_buffer.acting == 1, 20, "acting on v1")
        robot.updater._installer.check_first_step = fails(3, robot.updater._installer.check_first_step)  # type: ignore[method-assign]
        restarted("policy-updater-r1")
        with manager.client() as operator:
            operator.push(make_bundle(1))
        wait_for(lambda: robot.policy_buffer.acting == 2, 20, "acting on v2")
    finally:
        robot.stop()
        manager.stop()


def test_the_spool_writer_writes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool", stream_info(), 2**20)
    monkeypatch.setattr(spool, "commit", fails(2, spool.commit))
    writer = SpoolWriter(spool, 0.01)
    for number in range(3):
        writer.put(transition(number))
    assert writer.flush(20)
    assert thread_restarts() == {"spool-writer": 2} and spool.durable_seq == 3
    assert "ZeroDivisionError: nobody foresaw it" in writer.stats().error
    writer.close()
    spool.close()


def test_the_gate_follows_production_again_and_keeps_its_verdicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = ManagerThread(tmp_path)
    monkeypatch.setattr(FleetClient, "fetch", fails(1, FleetClient.fetch))
    monkeypatch.setattr(FleetClient, "ask", fails(1, FleetClient.ask))
    endpoints = SimpleNamespace(fleet=manager.announcements, fleet_rpc=manager.rpc)
    with GateFleetClient(cast("Endpoints", endpoints), "gate") as client:
        bundle = make_bundle(1)
        client.submit(bundle, verdict(bundle))
        wait_for(lambda: (found := client.take_incumbent()) and found.manifest.version == 2, what="the new incumbent")
        assert client.acknowledged == 1 and thread_restarts() == {"gate-fleet-client": 2}
    manager.stop()


@pytest.mark.parametrize("given", ["pipe", "process"])
def test_a_process_whose_lifeline_failed_still_ends_with_its_supervisor(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor is an end of a pipe, or another process; what ends is this process, told by a signal."""
    ended = threading.Event()
    monkeypatch.setattr(entry.os, "kill", lambda pid, number: ended.set())
    for name in ("_wait_for_pipe", "_wait_for_process"):
        monkeypatch.setattr(entry, name, fails(2, getattr(entry, name)))
    reading, writing = os.pipe()
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    if given == "pipe":
        monkeypatch.setenv(entry.SUPERVISOR_PIPE, str(reading))
    else:
        monkeypatch.setenv(entry.SUPERVISOR_PID, str(other.pid))
    entry.exit_with_supervisor()
    restarted("lifeline")
    assert not ended.is_set()
    os.close(writing)
    other.communicate(b"\n")
    assert ended.wait(20)
    os.close(reading)


def test_the_learner_watcher_watches_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANSWER_S", "POLL_PERIOD_S"):
        monkeypatch.setattr(learner_watcher, name, 0.05)
    seen = list[LearnerStatus]()
    config = FloopConfig(run_dir=str(tmp_path), endpoints=Endpoints(base_port=free_base_port()))
    with LearnerWatcher(config, 60.0, fails(1, seen.append)):
        restarted("learner-watcher")
        wait_for(lambda: seen, what="a status")


def test_a_gate_pool_that_could_start_no_worker_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = ProcessPool(workers=2, task=str(tmp_path), robot="panda", runner="tests.support.fake_runners:pid_runner")
    try:
        pool.add_policy("p", b"good")
        assert pool.wait_warm()
        monkeypatch.setattr(process_pool, "WorkerProcess", fails(3, process_pool.WorkerProcess))
        pool._workers[0].stop()  # as one that ran out of memory
        [future] = pool.submit([EpisodeJob("p", scenario(1, "box"))])
        assert future.result(60.0) is not None
        restarted("gate-pool")
        wait_for(lambda: not any(each.is_stopped for each in pool._workers), 20, "both workers")
    finally:
        pool.close()


def test_the_stop_writer_writes_again(tmp_path: Path) -> None:
    file = StopFile[bytes | None](tmp_path / "robot_1", None, fails(1, lambda value: value or b""))
    writer = StopFileWriter({"stop": file})
    writer.start()
    file.value = b"stop"
    writer.save_changes()
    wait_for(lambda: file.is_saved and (tmp_path / "robot_1").read_bytes() == b"stop", what="the file")
    assert writer.restarts == 1
    writer.close()


def test_the_e_stop_s_socket_outlives_a_process_without_free_files(tmp_path: Path) -> None:
    folder = link_folder(tmp_path, "robot_1")
    folder.mkdir(parents=True)
    estop = EstopInterface(EstopLatch(), OperatorTokens(None))
    with closing(EstopServer(folder, estop)), closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as peer:
        with no_more_files():
            peer.connect(str(folder / "estop.ipc"))
            restarted("estop")
        assert not ask_robot(tmp_path, "robot_1", ReadEstop()).state.latched


def test_the_supervisor_restarts_processes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site"
    package.mkdir()
    (package / "idler.py").write_text("import time\ndef main(argv):\n    while True: time.sleep(60)\n")
    path = f"import floop_robot.services\nfloop_robot.services.__path__.append({str(package)!r})\n"
    (package / "sitecustomize.py").write_text(path)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(package), *filter(None, sys.path)]))
    with Supervisor([ProcessSpec(name="a", module="idler", arguments=())], tmp_path) as supervisor:
        monkeypatch.setattr(supervisor, "_schedule", fails(2, supervisor._schedule))
        restarted("supervisor")
        process = supervisor._children["a"].process
        assert process is not None
        process.kill()
        wait_for(lambda: supervisor.restarts, 20, "the restart")
