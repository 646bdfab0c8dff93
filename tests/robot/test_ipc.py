"""IpcLinks between real processes: death and restart of any of them, and what the arm does meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from floop_robot.robot.estop_socket import LATCH_FILE, ReadEstop, ask_robot
from floop_robot.robot.ipc import IpcLinks, LatestReceiver, Link, link_folder, sole_server
from floop_robot.robot.messages import JointTarget, ResetCommand, SafetyMode, SafetyState
from floop_robot.spec.errors import StorageError
from tests.support.estop_commands import stop
from tests.support.waiting import wait_for

ROBOT = "robot_1"
ROOT = Path(__file__).resolve().parents[2]


class Peer:
    """One process of a robot."""

    def __init__(self, role: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.robot_processes", role, str(folder)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"up\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


Start = Callable[[str], Peer]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return link_folder(tmp_path, ROBOT)


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    peers: list[Peer] = []

    def begin(role: str) -> Peer:
        peers.append(Peer(role, folder))
        return peers[-1]

    yield begin
    for peer in peers:
        if peer._process.returncode is None:
            peer.close()


@pytest.fixture
def links(folder: Path) -> Iterator[IpcLinks]:
    with IpcLinks(folder) as links:
        yield links


def newest(receiver: LatestReceiver[SafetyState]) -> SafetyState:
    report = wait_for(receiver.receive, what="a report")
    assert report is not None
    return report


def is_in(receiver: LatestReceiver[SafetyState], *modes: SafetyMode) -> Callable[[], bool]:
    return lambda: newest(receiver).mode in modes


def test_a_killed_policy_is_noticed_within_a_tenth_of_a_second(start: Start, links: IpcLinks) -> None:
    reports = links.reports_in()
    start("driver")
    start("safety")
    for _ in range(4):
        policy = start("policy")
        wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following")
        policy.kill()
        killed_s = time.monotonic()
        while (report := newest(reports)).mode is SafetyMode.FOLLOWING:
            last_s = report.mono_s
            assert last_s - killed_s < 0.1
        # From here on the arm only comes to a stand: wait until it does, and see that it was soon.
        before = report.q_rad
        while (report := newest(reports)).q_rad != before:
            before = report.q_rad
        assert report.mono_s - killed_s < 0.6


def test_a_killed_driver_stops_the_arm_and_its_successor_is_taken_over(
    start: Start, links: IpcLinks, folder: Path
) -> None:
    reports = links.reports_in()
    driver = start("driver")
    start("safety")
    start("policy")
    wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following")
    driver.kill()
    wait_for(is_in(reports, SafetyMode.STOPPING), what="a stop")
    start("driver")
    wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following again")
    assert not (folder / LATCH_FILE).exists(), "a silent driver is no e-stop"


def test_a_killed_safety_process_comes_back_into_motion(start: Start, links: IpcLinks) -> None:
    reports, states = links.reports_in(), links.states_in()
    start("driver")
    safety = start("safety")
    start("policy")
    wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following")
    safety.kill()
    quiet = wait_for(states.receive)
    assert quiet is not None
    start("safety")
    wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following again")

    def moved() -> bool:
        state = states.receive()
        return state is not None and abs(state.q_rad[0] - quiet.q_rad[0]) > 0.05

    wait_for(moved, what="motion")


def test_a_stop_outlives_a_killed_safety_process(start: Start, links: IpcLinks, tmp_path: Path) -> None:
    reports = links.reports_in()
    start("driver")
    safety = start("safety")
    start("policy")
    wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following")
    stopped = ask_robot(tmp_path, ROBOT, stop("operator"))
    assert stopped.success and stopped.state.on_disk
    wait_for(is_in(reports, SafetyMode.ESTOP), what="the stop")
    safety.kill()
    start("safety")
    wait_for(lambda: newest(reports).tick > 5 and newest(reports).estop, what="a stop that lasted")
    state = ask_robot(tmp_path, ROBOT, ReadEstop()).state
    assert state.latched and state.stop_id != stopped.state.stop_id
    old = ResetCommand(who="operator", stop_id=stopped.state.stop_id, nonce=state.nonce)
    assert not ask_robot(tmp_path, ROBOT, old).success
    assert ask_robot(tmp_path, ROBOT, ResetCommand(who="operator", stop_id=state.stop_id, nonce=state.nonce)).success
    wait_for(is_in(reports, SafetyMode.FOLLOWING), what="following after the reset")
    assert not newest(reports).estop


def target(seq: int) -> JointTarget:
    return JointTarget(q_rad=(0.0,) * 7, gripper_width_m=0.0, gripper_force_n=0.0, seq=seq)


def test_a_reader_gets_the_newest_and_nothing_else(folder: Path) -> None:
    with IpcLinks(folder) as reader, IpcLinks(folder) as writer:
        targets, out = reader.targets_in(), writer.targets_out()
        seq = 0

        def sent() -> JointTarget | None:
            nonlocal seq
            seq += 1
            out.send(target(seq))
            return targets.receive()

        wait_for(sent, what="the connection")
        last = seq + 10_000
        for i in range(seq + 1, last + 1):
            out.send(target(i))
        seen: list[int] = []

        def arrived() -> bool:
            if (found := targets.receive()) is not None:
                seen.append(found.seq)
            return bool(seen) and seen[-1] == last

        wait_for(arrived, what="the newest")
        assert seen == sorted(seen)
        assert targets.receive() is None


def test_sending_to_nobody_never_waits(folder: Path) -> None:
    with IpcLinks(folder) as links:
        out = links.targets_out()
        start_s = time.monotonic()
        for i in range(20_000):
            out.send(target(i))
        assert time.monotonic() - start_s < 5.0


def test_rubbish_is_counted_and_dropped(folder: Path) -> None:
    with IpcLinks(folder) as links:
        states = links.states_in()
        context = zmq.Context()
        socket = context.socket(zmq.PUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind(f"ipc://{folder / 'state.ipc'}")
        rubbish = [b"", b"\xc1", b"\x81\xa4tick\xa1x", b"\x91" * 60_000, b"\xa4" + b"\xff" * 4, b"x" * 100_000]
        i = 0

        def refused() -> bool:
            nonlocal i
            socket.send(rubbish[i % len(rubbish)])
            i += 1
            assert states.receive() is None
            return states.refused >= 3 * len(rubbish)

        wait_for(refused, what="refusals")
        socket.close()
        context.term()


def test_an_end_has_one_server(folder: Path) -> None:
    with IpcLinks(folder) as first, IpcLinks(folder) as second:
        first.commands_out()
        with pytest.raises(StorageError, match="is in use by another process"):
            second.commands_out()
    with IpcLinks(folder) as third:
        third.commands_out()


def test_a_server_waits_for_a_stop_that_is_being_written(folder: Path) -> None:
    held = sole_server(folder, Link.COMMAND, wait_s=0.0)
    held.__enter__()
    release = threading.Timer(0.1, held.__exit__, (None, None, None))
    release.start()
    with IpcLinks(folder) as links:
        links.commands_out()
    release.join()


def test_a_deep_run_directory_still_has_sockets(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    folder = link_folder(deep, "robot_1")
    assert folder == link_folder(deep, "robot_1")
    assert folder != link_folder(deep, "robot_2")
    with IpcLinks(folder) as links:
        links.commands_out()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "links").write_text("a file")
    with pytest.raises(StorageError, match="choose another run_dir"):
        IpcLinks(tmp_path / "links" / "robot_1")


def test_only_this_user_can_reach_the_sockets(folder: Path) -> None:
    with IpcLinks(folder):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = Path("/")
    if os.getuid() == 0:
        folder = tmp_path / "theirs"
        folder.mkdir()
        os.chown(folder, 65534, -1)
    with pytest.raises(StorageError, match="belongs to another user; choose another run_dir"):
        IpcLinks(folder)


def test_a_reader_may_wait_for_a_message_and_gives_up_in_time(folder: Path) -> None:
    with IpcLinks(folder) as reader, IpcLinks(folder) as writer:
        targets = reader.targets_in()
        assert targets.wait(0.01) is None
        out = writer.targets_out()

        def waited() -> JointTarget | None:
            out.send(target(7))
            return targets.wait(0.01)

        assert wait_for(waited, what="a message") == target(7)
