"""The simulated driver shows what it sees, and lays out nothing for a stopped arm."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from geometry_msgs.msg import PoseStamped

from floop_interfaces import msg, srv
from floop_robot.robot.messages import PerceivedObject, Phase, RobotState
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED, SENSOR
from floop_robot.ros.sim.sim_topics import FrameSchedule, SimTopics, StatePublisher
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer

MODEL = load_robot("panda")
BOX = PerceivedObject(object_class="box", size_m=(0.04, 0.04, 0.04), position_m=(0.5, 0.1, 0.02), yaw_rad=0.0)
TOTE_M = (0.3, 0.4, 0.01)
STATE = RobotState(
    tick=1,
    stamp_ns=1,
    mono_s=0.0,
    q_rad=MODEL.home_rad,
    dq_rad_s=(0.0,) * len(MODEL.home_rad),
    gripper_width_m=0.05,
    gripper_effort_n=0.0,
    episode=4,
    phase=Phase.READY,
)


@pytest.fixture
def sim(peer: Peer) -> SimTopics:
    driver, frames = DriverConfig(command_topic="commands"), FrameSchedule(50.0, 12.5)
    states = StatePublisher(peer.node, MODEL, driver, "robot_1", with_clock=False, frames=frames)
    return SimTopics(peer.node, MODEL, driver, 50.0, states)


def place(message: PoseStamped) -> tuple[float, float, float]:
    at = message.pose.position
    return at.x, at.y, at.z


def test_bare_poses_are_published_of_what_is_there(peer: Peer, sim: SimTopics) -> None:
    objects = peer.listen(PoseStamped, topics.OBJECT_POSE, SENSOR)
    totes = peer.listen(PoseStamped, topics.TOTE_POSE, SENSOR)

    def heard(state: RobotState, messages: list[PoseStamped]) -> bool:
        sim.states.send(state)
        return bool(messages)

    seen = msgspec.structs.replace(STATE, object=BOX)
    wait_for(lambda: heard(seen, objects), what="the object's pose")
    assert not totes  # there is none
    shown = place(objects[-1])
    with_tote = msgspec.structs.replace(STATE, tote_m=TOTE_M)
    wait_for(lambda: heard(with_tote, totes), what="the tote's pose")
    assert (shown, place(totes[-1])) == (BOX.position_m, TOTE_M)


@pytest.mark.parametrize("phase_s", [0.0, 0.005, 0.0137])
def test_the_policy_finds_a_frame_of_the_tick_before_it_and_one_of_the_tick_before_that(phase_s: float) -> None:
    frames, late = FrameSchedule(50.0, 12.5, phase_s), FrameSchedule(50.0, 12.5, phase_s)
    ticks = [phase_s + 0.02 * tick for tick in range(7_000_000, 7_000_040)]
    due = [frames.advance(at_s) for at_s in ticks]
    assert due == [late.advance(at_s + 0.015) for at_s in ticks]
    policy = RateLoop(12.5, lambda _: None, "policy", phase_s + 0.006)
    steps = [policy._start(at_s) for at_s in ticks]
    assert due == [step - at_s < 0.03 for step, at_s in zip(steps, ticks, strict=True)]
    assert sum(due) == len(ticks) // 2


def test_every_tick_has_a_frame_where_the_rates_do_not_match() -> None:
    frames = FrameSchedule(50.0, 15.0)
    assert all(frames.advance(0.02 * tick) for tick in range(50))


@pytest.mark.parametrize(
    ("ticks", "due"),
    [
        ((40, 41, 42, 43, 44, 45), (True, False, False, True, True, False)),
        ((40, 41, 42, 45, 46), (True, False, False, True, False)),  # without both
        ((40, 41, 42, 43, 45, 46), (True, False, False, True, True, False)),  # without the second
        ((40, 41, 46, 47, 48, 49), (True, False, True, True, True, False)),
        ((40, 41, 42, 50, 51), (True, False, False, True, True)),
    ],
)
def test_a_tick_after_a_skipped_frame_has_it_instead(ticks: tuple[int, ...], due: tuple[bool, ...]) -> None:
    frames = FrameSchedule(50.0, 12.5)
    assert tuple(frames.advance(0.02 * tick) for tick in ticks) == due


def test_a_stopped_arm_gets_no_new_episode(peer: Peer, sim: SimTopics) -> None:
    def ask(episode: int) -> srv.ResetEpisode.Response:
        return peer.call(srv.ResetEpisode, topics.RESET_EPISODE, srv.ResetEpisode.Request(episode=episode))

    sim.states.send(STATE)
    none = ask(0)
    assert (none.success, none.message) == (False, "episode 0 is none; numbers begin at 1")
    safety = peer.node.create_publisher(msg.EstopState, topics.ESTOP_STATE, LATCHED)
    safety.publish(msg.EstopState(latched=True, why="a hand in the cell"))
    refused = wait_for(lambda: next((a for a in [ask(5)] if not a.success), None), what="the refusal")
    assert refused.message == "the arm is stopped: a hand in the cell"
    there = ask(4)  # laid out before the stop
    assert (there.success, there.phase) == (True, Phase.READY.value)
    safety.publish(msg.EstopState(latched=False))
    wait_for(lambda: ask(5).success, what="the next episode")
