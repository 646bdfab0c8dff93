"""The topics and the reset service of a simulated driver: those of a real arm and its perception."""

from __future__ import annotations

import math
from typing import Final

import msgspec
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from floop_interfaces import msg, srv
from floop_robot.robot.messages import Phase, ResetRequest, RobotState
from floop_robot.ros.arm.convert import object_to_cdr, pose_to_cdr
from floop_robot.ros.arm.joint_commands import JointCommandSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import CdrPublisher, Mailbox, RosSubscriber
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from floop_robot.ros.node.service_calls import NO_EPISODE, create_services
from floop_robot.ros.node.stamps import header, time_numbers, to_time
from floop_robot.ros.sim.robot_model_publisher import RobotModelPublisher
from floop_robot.sim.sim_driver import DriverLink
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.records import GroundTruth
from floop_robot.spec.robot_model import RobotModel

POSE_TICKS: Final = 5
"""How often bare poses are published, in ticks: they are for other tools."""
EARLY_TICKS: Final = 0.2
"""A state belongs to the tick that began last, or begins this soon: a busy machine makes it late, never much early."""


class FrameSchedule:
    """In which servo ticks perception publishes: the two before each step of the policy, which reads no others.

    The second one is for a policy that finds the first late. So the policy sees what it saw when each tick had a frame.
    A tick after a skipped one that should have had a frame has it instead.
    """

    def __init__(self, servo_rate_hz: float, policy_rate_hz: float, phase_s: float = 0.0) -> None:
        """`phase_s`: the driver's place on the host's beat; the policy follows it within the same servo period.

        Every tick has a frame where the servo rate is no multiple of the policy rate.
        """
        ticks = servo_rate_hz / policy_rate_hz
        self._ticks = round(ticks) if ticks.is_integer() else 1
        self._rate_hz, self._phase_s = servo_rate_hz, phase_s
        self._latest = 0

    def advance(self, mono_s: float) -> bool:
        """Go on to the tick whose state was made at `mono_s` (steady clock); returns whether it has a frame."""
        tick = math.floor((mono_s - self._phase_s) * self._rate_hz + EARLY_TICKS)
        first = max(min(self._latest + 1, tick), tick - self._ticks + 1)  # of those that were skipped, and itself
        self._latest = tick
        return any((each + 1) % self._ticks <= 1 for each in range(first, tick + 1))


class StatePublisher:
    """Publishes a robot state on the topics of driver and perception; joints last, since they complete it."""

    def __init__(
        self,
        node: Node,
        model: RobotModel,
        driver: DriverConfig,
        robot: str,
        with_clock: bool,
        frames: FrameSchedule,
        shown: RobotModelPublisher | None = None,
    ) -> None:
        """`frames`: when the object is published. `shown` gets each state, too."""
        self._shown = shown
        self._frames, self._base_frame = frames, driver.base_frame(model, robot)
        self._model, self._robot, self._names = model, robot, [*driver.names(model), *model.gripper.joint_names]
        self._joints = CdrPublisher(node, JointState, driver.joint_states_topic, SENSOR)
        self._gripper = CdrPublisher(node, msg.GripperState, topics.GRIPPER_STATE, SENSOR)
        self._object = CdrPublisher(node, msg.PerceivedObject, topics.PERCEIVED_OBJECT, SENSOR)
        self._object_pose = CdrPublisher(node, PoseStamped, topics.OBJECT_POSE, SENSOR)
        self._tote_pose = CdrPublisher(node, PoseStamped, topics.TOTE_POSE, SENSOR)
        self._episode = node.create_publisher(msg.EpisodeState, topics.DRIVER_EPISODE, LATCHED)
        self._truth = node.create_publisher(String, topics.DRIVER_TRUTH, LATCHED)
        self._clock = node.create_publisher(Clock, topics.CLOCK, EVENTS) if with_clock else None
        self._last_phase: tuple[int, Phase] | None = None
        self._last_truth: GroundTruth | None = None
        self._ticks = 0
        self.last: RobotState | None = None
        """What was published last; readable from any thread."""

    def send(self, state: RobotState, /) -> None:
        """Publish."""
        self.last = state
        if state.truth is not None and state.truth != self._last_truth:
            self._last_truth = state.truth
            self._truth.publish(String(data=msgspec.json.encode(state.truth).decode()))
        if (state.episode, state.phase) != self._last_phase:
            self._last_phase = (state.episode, state.phase)
            self._episode.publish(
                msg.EpisodeState(header=header(), robot=self._robot, episode=state.episode, phase=state.phase.value)
            )
        self._publish_perception(state)
        stamp = time_numbers(state.stamp_ns)
        gripper = (*stamp, state.gripper_width_m, state.gripper_effort_n)
        self._gripper.send(self._gripper.writer.write((), msg.GripperState, gripper))
        fingers = len(self._model.gripper.joint_names)
        half = state.gripper_width_m / fingers
        joints = (*stamp, *state.q_rad, *(half,) * fingers, *state.dq_rad_s, *(0.0,) * fingers)
        self._joints.send(self._joints.writer.write((), self._example, joints))
        if self._shown is not None:
            self._shown.send(state)

    def _example(self) -> JointState:
        zeros = [0.0] * len(self._names)
        return JointState(name=self._names, position=zeros, velocity=zeros)

    def publish_clock(self, simulated_s: float) -> None:
        """Publish the simulated time on `/clock`, where it was asked for."""
        if self._clock is not None:
            self._clock.publish(Clock(clock=to_time(round(simulated_s * 1e9))))

    def _publish_perception(self, state: RobotState) -> None:
        frame = self._base_frame
        if self._frames.advance(state.mono_s):
            self._object.send(object_to_cdr(self._object.writer, state.object, frame))
        self._ticks += 1
        if self._ticks % POSE_TICKS:
            return
        if state.object is not None:
            position, yaw = state.object.position_m, state.object.yaw_rad
            self._object_pose.send(pose_to_cdr(self._object_pose.writer, position, yaw, frame))
        if state.tote_m is not None:
            self._tote_pose.send(pose_to_cdr(self._tote_pose.writer, state.tote_m, 0.0, frame))


class SimTopics:
    """The simulated driver's ends of a robot's topics, and its service for resets."""

    def __init__(
        self,
        node: Node,
        model: RobotModel,
        driver: DriverConfig,
        servo_rate_hz: float,
        states: StatePublisher,
    ) -> None:
        self.states = states
        self._requests: Mailbox[ResetRequest] = Mailbox()
        commands = JointCommandSubscriber(node, model, driver, servo_rate_hz)
        self.link = DriverLink(self.states, commands, self._requests)
        self._stops = RosSubscriber(node, msg.EstopState, topics.ESTOP_STATE, LATCHED, lambda message, _: message)
        self._stop: msg.EstopState | None = None
        create_services(node, ((srv.ResetEpisode, topics.RESET_EPISODE, self._reset),))

    def _reset(self, request: srv.ResetEpisode.Request, answer: srv.ResetEpisode.Response) -> srv.ResetEpisode.Response:
        state, episode = self.states.last, request.episode
        is_reached = state is not None and state.episode == episode
        answer.phase = state.phase.value if state is not None and is_reached else Phase.RESETTING.value
        self._stop = self._stops.receive() or self._stop
        stop = self._stop
        if stop is not None and (stop.latched or stop.start_required) and not is_reached:
            does = "is stopped" if stop.latched else "was reset, and waits for a start"
            answer.message = f"the arm {does}: {stop.why or 'no reason given'}"
        elif episode == 0:
            answer.message = NO_EPISODE
        else:
            self._requests.send(ResetRequest(episode=episode))
            answer.success, answer.message = True, f"episode {episode} is laid out"
        return answer
