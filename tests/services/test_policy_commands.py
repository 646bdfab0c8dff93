"""What an operator may have a robot do: a real policy process without ROS, whose arm stands still at home."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_envs.expert import Expert
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import LoopInterface, StartRequest
from floop_robot.robot.policy_loop import PolicyLink
from floop_robot.services.policy import INACTIVE, PolicyProcess, RobotStats, run
from floop_robot.services.policy_commands import (
    active_interface,
    check_start,
    check_task,
    has_begun,
    record_event,
    request_end,
    set_drain,
    write_label,
)
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import CallRefused
from floop_robot.spec.records import OutcomeCode
from tests.support.still_arm import ROBOT, Sink, Source, StillArm, arguments
from tests.support.waiting import wait_for


@pytest.fixture
def arm() -> StillArm:
    return StillArm()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[PolicyProcess]:
    process = PolicyProcess(arguments(tmp_path))
    yield process
    process.stop()
    process.close(0.0)


def start(process: PolicyProcess, arm: StillArm, *, auto: bool = False) -> LoopInterface:
    process.policy_buffer.offer(1, Expert(process.rules.spec))
    process.start(arm.link, LoopInterface(auto))
    return active_interface(process)


def is_running(process: PolicyProcess) -> bool:
    return process.view.state is EpisodeState.RUNNING


def test_an_inactive_process_starts_and_ends_nothing(process: PolicyProcess) -> None:
    with pytest.raises(CallRefused, match=INACTIVE):
        active_interface(process)
    assert process.waiting_reason(process.view) == INACTIVE
    assert process.current_stats() is None


def test_an_episode_by_hand_from_start_to_label(process: PolicyProcess, arm: StillArm) -> None:
    interface = start(process, arm)
    wait_for(lambda: process.view.state is EpisodeState.WAITING)
    with pytest.raises(CallRefused, match="no episode runs"):
        request_end(process, 0, "ann", "")
    check_start(process, interface)
    number = process.view.episode
    assert not has_begun(process, number)
    interface.request_start(StartRequest())
    wait_for(lambda: is_running(process))
    assert has_begun(process, number)
    with pytest.raises(CallRefused, match=f"episode {number} is running"):
        check_start(process, interface)
    with pytest.raises(CallRefused, match="outcome 7 is none of"):
        request_end(process, 7, "ann", "")
    with pytest.raises(CallRefused, match="has not ended yet"):
        write_label(process, process.boot_id, number, True, "ann", "")
    wanted = request_end(process, OutcomeCode.TIMEOUT, "ann", "too slow")
    report = wait_for(interface.take_report)
    assert (report.end.episode, report.end.outcome, report.why) == (number, OutcomeCode.TIMEOUT, "ann: too slow")
    assert wanted.outcome is OutcomeCode.TIMEOUT
    before = process.uploader.stats().writer.written
    write_label(process, process.boot_id, number, True, "ann", "it was in the tote")
    record_event(process, "inspected", "ann: " + "x" * 5000)
    wait_for(lambda: process.uploader.stats().writer.written >= before + 2)


@pytest.mark.parametrize(
    ("boot_id", "episode", "who", "words"),
    [
        ("nonsense", 1, "ann", "has 16 digits from 0 to f"),
        ("0" * 16, 0, "ann", f"numbers go from 1 to {MAX_INT}"),
        ("0" * 16, 1, "a" * 3000, "may have 2000 characters"),
    ],
)
def test_a_bad_label_is_refused(process: PolicyProcess, boot_id: str, episode: int, who: str, words: str) -> None:
    with pytest.raises(CallRefused, match=words):
        write_label(process, boot_id, episode, True, who, "")


def test_episodes_that_start_by_themselves_are_not_started_by_hand(process: PolicyProcess, arm: StillArm) -> None:
    interface = start(process, arm, auto=True)
    wait_for(lambda: is_running(process))
    request_end(process, OutcomeCode.ABORTED, "ann", "")
    process.drain_state.set_hold("on hold for a test")
    wait_for(lambda: not is_running(process))
    check_start(process, interface)  # a hold is ended by hand
    process.drain_state.set_hold("")
    process.drain_state.set_fleet_drain(True)
    with pytest.raises(CallRefused, match="start by themselves"):
        check_start(process, interface)


def test_a_stopped_or_drained_robot_starts_nothing(process: PolicyProcess, arm: StillArm) -> None:
    interface = start(process, arm)
    wait_for(lambda: process.view.state is EpisodeState.WAITING)
    set_drain(process, ROBOT, True, 0.0)
    for refused in (lambda: check_start(process, interface), lambda: check_task(process, "", "", 0.0, 0.0)):
        with pytest.raises(CallRefused, match="drained here"):
            refused()
    set_drain(process, "", False, 0.0)
    arm.is_stopped = True
    wait_for(lambda: process.view.estop)
    for refused in (lambda: check_start(process, interface), lambda: check_task(process, "", "", 0.0, 0.0)):
        with pytest.raises(CallRefused, match="the e-stop is latched"):
            refused()


def test_a_drain_of_the_fleet_manager_is_its_own_to_end(process: PolicyProcess) -> None:
    process.drain_state.set_fleet_drain(True)
    with pytest.raises(CallRefused, match="it alone can end that"):
        set_drain(process, ROBOT, False, 0.0)
    with pytest.raises(CallRefused, match="this is robot_1, not robot_2"):
        set_drain(process, "robot_2", True, 0.0)
    with pytest.raises(CallRefused, match="wait_s must be a number of seconds"):
        set_drain(process, ROBOT, True, float("nan"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "floop/Stack-v0"}, "this robot works at floop/Pick-v0"),
        ({"object_class": "anvil"}, "unknown class 'anvil'; known: "),
        ({"time_limit_s": -1.0}, "must be numbers of seconds"),
        ({"ready_timeout_s": float("inf")}, "must be numbers of seconds"),
    ],
)
def test_a_bad_task_is_refused(process: PolicyProcess, changes: dict[str, object], words: str) -> None:
    fields: dict[str, object] = {"task": "", "object_class": "", "time_limit_s": 0.0, "ready_timeout_s": 0.0}
    with pytest.raises(CallRefused, match=words):
        check_task(process, **(fields | changes))  # type: ignore[arg-type]


def test_the_process_ends_when_it_shall_and_leaves_its_figures(tmp_path: Path, arm: StillArm) -> None:
    stop, ours = threading.Event(), arguments(tmp_path)
    thread = threading.Thread(target=run, args=(ours, arm.link, stop))
    thread.start()
    wait_for(lambda: arm.episode)
    wait_for(lambda: read_stats(tmp_path, f"{ROBOT}.policy", RobotStats))
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()
    assert read_stats(tmp_path, f"{ROBOT}.policy", RobotStats)[-1].rate.ticks > 0


def test_a_broken_link_ends_the_process_with_its_error(process: PolicyProcess, arm: StillArm) -> None:
    noticed = threading.Event()

    def broken() -> object:
        raise OSError("the link is cut")

    link = PolicyLink(Source(broken), Source(arm.report), Sink(arm.targets.append), Sink(arm.reset))  # type: ignore[arg-type]
    process.start(link, on_failure=noticed.set)
    assert noticed.wait(5.0)
    with pytest.raises(OSError, match="the link is cut"):
        process.stop()
    assert not process.is_active
