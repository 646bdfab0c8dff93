"""Operators' services beside files and fleet managers that hang: nothing else waits, and nothing is done late."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile

from floop_interfaces import srv
from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import Heartbeat
from floop_robot.deploy.registry import FLEET
from floop_robot.ros.fleet import fleet_services
from floop_robot.ros.fleet.fleet_services import MAX_FILE_READERS, FleetCommandServices
from floop_robot.ros.node import topics
from floop_robot.ros.node.rosout import logging_to
from tests.support.in_process_fleet import Hanging, ManagerThread
from tests.support.ros.peer import Peer
from tests.support.sample_bundles import IDS, make_bundle
from tests.support.waiting import wait_for

READER = "async-condition"
"""Threads that read files."""


class SlowFile:
    """A file that is read for as long as nobody feeds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def feed(self, bundle: Bundle) -> None:
        """Let it be read to its end; the reader must be there."""

        def opened() -> int | None:
            with contextlib.suppress(OSError):  # nobody reads it yet
                return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            return None

        with os.fdopen(wait_for(opened, what="its reader"), "wb") as pipe:
            os.set_blocking(pipe.fileno(), True)
            pipe.write(bundle.to_bytes())

    def give_up(self) -> None:
        """End whoever still reads it."""
        os.close(os.open(self.path, os.O_RDWR | os.O_NONBLOCK))


class ServicesRig:
    """The services, a fleet manager in the same process, and files that hang."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder, self.manager = folder, ManagerThread(folder)
        self.files: list[SlowFile] = []
        self.fault: Exception | None = None
        """What reading a file raises."""
        self.client = self.manager.client("bob")
        self.peer = Peer(domain)
        self.services = FleetCommandServices(self.peer.node, self.manager.requests, self._read)

    def _read(self, request: srv.PushPolicy.Request) -> Bundle:
        if self.fault is not None:
            raise self.fault
        path = Path(request.bundle_path)
        return Bundle.from_bytes(path.read_bytes(), path.name) if path.is_fifo() else Bundle.load(path)

    def push_slow_file(self, **fields: Any) -> tuple[Any, SlowFile]:
        """The future answer of a push whose file hangs; its reader is there."""
        self.files.append(SlowFile(self.folder / f"slow_{len(self.files)}.floop"))
        before = readers()
        request = srv.PushPolicy.Request(who="ann", bundle_path=str(self.files[-1].path), **fields)
        answer = self.peer.send(srv.PushPolicy, topics.PUSH_POLICY, request)
        wait_for(lambda: readers() > before or answer.done(), what="the file being read")
        return answer, self.files[-1]

    def call(self, kind: Any, name: str, **fields: Any) -> Any:
        return self.peer.call(kind, name, kind.Request(who="ann", **fields), 20.0)

    def close(self) -> None:
        for file in self.files:
            file.give_up()
        self.services.close()
        self.peer.close()
        self.client.close()
        self.manager.stop()
        wait_for(lambda: readers() == 0, what="the end of the readers")


def readers() -> int:
    return sum(thread.name == READER for thread in threading.enumerate())


@pytest.fixture
def rig(tmp_path: Path, domain: int) -> Iterator[ServicesRig]:
    made = ServicesRig(tmp_path, domain)
    with contextlib.closing(made):
        yield made


def test_no_other_command_waits_for_a_file(rig: ServicesRig) -> None:
    pushed, file = rig.push_slow_file()
    for flag in (True, False):
        assert rig.call(srv.HoldUpdates, topics.HOLD_UPDATES, hold=flag).success
        assert rig.call(srv.DrainRobot, topics.DRAIN_ROBOT, robot=FLEET, drain=flag).success
    assert not pushed.done()
    file.feed(make_bundle(1))
    answer = rig.peer.result(pushed, 20.0)
    assert (answer.success, answer.version, answer.message) == (True, 2, "pushed v2")


@pytest.mark.parametrize("door", ["service", "ZeroMQ"])
def test_a_push_whose_file_is_slow_undoes_nothing_that_came_after_it(rig: ServicesRig, door: str) -> None:
    rig.client.push(make_bundle(1))
    (first, file), (second, other) = rig.push_slow_file(), rig.push_slow_file()
    if door == "service":
        back = rig.call(srv.RollbackPolicy, topics.ROLLBACK_POLICY, to_version=1).version
    else:
        back = rig.client.rollback(1).version
    who = "ann" if door == "service" else "bob"
    for answer, each in ((first, file), (second, other)):
        each.feed(make_bundle(2))
        message = rig.peer.result(answer, 20.0).message
        assert message.startswith(f"not done: fleet is on v{back} now (rollback by {who} at ")
        assert message.endswith("not on v2; give the command again if it is still wanted")
    assert rig.client.status().production == back


def test_a_file_that_takes_too_long_is_never_pushed(rig: ServicesRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_services, "BEGIN_S", 0.5)
    pushed, file = rig.push_slow_file()
    answer = rig.peer.result(pushed, 20.0)
    assert answer.message == "not done: could not read its file within 0.5 s; call again later"
    file.feed(make_bundle(1))
    wait_for(lambda: readers() == 0)
    assert rig.client.status().production == 1


def test_a_push_with_a_file_has_one_deadline(rig: ServicesRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_services, "BEGIN_S", 4.0)
    rig.files.append(SlowFile(rig.folder / "slow.floop"))
    request = srv.PushPolicy.Request(who="ann", bundle_path=str(rig.files[0].path))
    rig.peer.call(srv.HoldUpdates, topics.HOLD_UPDATES, srv.HoldUpdates.Request(who="ann"), 20.0)  # services are found
    with Hanging(rig.manager):
        began_s = time.monotonic()
        pushed = rig.peer.send(srv.PushPolicy, topics.PUSH_POLICY, request)
        wait_for(lambda: time.monotonic() > began_s + 3.0)
    wait_for(lambda: readers() == 1, what="the file being read")
    answer = rig.peer.result(pushed, 20.0)
    assert answer.message == "not done: could not read its file within 4 s; call again later"
    assert time.monotonic() < began_s + 6.0  # the file did not get 4 s of its own


def test_a_fault_of_the_program_is_answered(rig: ServicesRig) -> None:
    rig.fault = ZeroDivisionError()
    answer = rig.call(srv.PushPolicy, topics.PUSH_POLICY, bundle_path="some.floop")
    assert (answer.success, answer.message) == (False, "a fault of the program; the log of this node has it")
    assert rig.call(srv.PushPolicy, topics.PUSH_POLICY, version=1).success


def test_files_that_hang_cost_a_bounded_number_of_threads(rig: ServicesRig) -> None:
    stuck = [rig.push_slow_file()[0] for _ in range(MAX_FILE_READERS)]
    refused, _ = rig.push_slow_file()
    message = rig.peer.result(refused, 20.0).message
    assert message == f"not done: {MAX_FILE_READERS} files are being read already; call again later"
    assert not any(answer.done() for answer in stuck) and readers() == MAX_FILE_READERS
    assert rig.call(srv.PushPolicy, topics.PUSH_POLICY, version=1).success


def test_where_no_thread_can_be_started_the_services_go_on(rig: ServicesRig, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == READER:
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        message = rig.call(srv.PushPolicy, topics.PUSH_POLICY, bundle_path="some.floop").message
        assert message == "not done: its file cannot be read: can't start new thread"
    assert rig.call(srv.HoldUpdates, topics.HOLD_UPDATES, hold=True).success


def test_a_file_that_cannot_be_read_is_one_line(rig: ServicesRig) -> None:
    answer = rig.call(srv.PushPolicy, topics.PUSH_POLICY, bundle_path=str(rig.folder / "none.floop"))
    assert "none.floop" in answer.message and "\n" not in answer.message and not answer.success


def test_a_wait_that_is_no_time_is_refused_by_name_and_nothing_is_done(rig: ServicesRig) -> None:
    logged = rig.peer.listen(Log, "/rosout", QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL))
    with logging_to(rig.peer.node):
        for wait_s in (-1.0, math.nan, math.inf, 1e9):
            answer = rig.call(srv.PushPolicy, topics.PUSH_POLICY, version=1, wait_s=wait_s)
            assert (answer.success, answer.version) == (False, 0)
            assert answer.message == f"not done: wait_s is {wait_s:g}; give seconds from 0 to 300"
        refused = "PushPolicy by ann refused: not done: wait_s is -1"
        wait_for(lambda: any(line.msg.startswith(refused) for line in logged), what="the refusal on /rosout")
    assert rig.call(srv.PushPolicy, topics.PUSH_POLICY, version=1, wait_s=0.0).success


def test_what_the_fleet_manager_could_not_begin_in_time_is_never_done(
    rig: ServicesRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_services, "BEGIN_S", 0.5)
    with Hanging(rig.manager):
        answer = rig.call(srv.HoldUpdates, topics.HOLD_UPDATES, hold=True)
        assert answer.message == "not done: could not be begun within 0.5 s; call again later"
    assert not rig.client.status().fleet.hold


def test_a_fleet_manager_that_ends_says_so(rig: ServicesRig) -> None:
    rig.manager.stop()
    assert rig.call(srv.HoldUpdates, topics.HOLD_UPDATES, hold=True).message == "not done: the fleet manager ends"


@pytest.mark.parametrize("what_ends", ["fleet manager", "services"])
def test_whoever_waits_for_robots_when_the_fleet_manager_ends_learns_that_it_was_done(
    rig: ServicesRig, what_ends: str
) -> None:
    beat = Heartbeat(robot="robot_1", boot_id="b", contract=IDS.contract, version=1, acting=1)
    rig.manager.requests.submit(beat).result(20)
    request = srv.PushPolicy.Request(who="ann", version=1, wait_s=60.0)
    pushed = rig.peer.send(srv.PushPolicy, topics.PUSH_POLICY, request)
    wait_for(lambda: rig.client.status().production == 2, what="the push")
    if what_ends == "services":
        rig.services.close()
    else:
        rig.manager.stop()
    answer = rig.peer.result(pushed, 20.0)
    done = "pushed v2, the bytes of v1; the fleet manager ended before it was known how far the robots are"
    assert (answer.success, answer.version, answer.message) == (True, 2, done)


def test_closing_answers_whoever_waits(rig: ServicesRig) -> None:
    pushed, _ = rig.push_slow_file()
    rig.services.close()
    assert rig.peer.result(pushed, 20.0).message == "not done: the fleet manager ends"
    assert rig.client.status().production == 1
