"""RobotStateSubscriber: one robot state from the standard topics of a driver and its perception.

New joint states make a new robot state; everything else joins it as last heard. Standard topics carry only ROS stamps,
which other clocks may have made. So the age of a state counts from its arrival, on this host's steady clock.
"""

from __future__ import annotations

import msgspec
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Empty, String

from floop_interfaces import msg
from floop_robot.robot.joint_state_parser import JointStateParser, JointStates
from floop_robot.robot.messages import Phase, RobotState
from floop_robot.robot.state_check import (
    ArmReading,
    GripperReading,
    StateCheck,
    StateTicks,
)
from floop_robot.robot.state_faults import FaultKind, StateFault, StateFaults
from floop_robot.ros.arm.perception_subscriber import PerceptionSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.cdr import CdrMessage
from floop_robot.ros.node.io import CdrSubscriber, RosSubscriber
from floop_robot.ros.node.qos import LATCHED, LATEST, SENSOR
from floop_robot.ros.node.stamps import from_time_numbers, to_wall_ns
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.records import GroundTruth
from floop_robot.spec.robot_model import RobotModel


class RobotStateSubscriber:
    """Reads the robot's newest state; there is none without new joint states, or while the gripper is silent.

    States that can't be true are left out and counted in `faults` (`StateCheck`).
    Without `perception` it holds only what safety needs: arm, gripper and episode.
    """

    def __init__(
        self,
        node: Node,
        model: RobotModel,
        driver: DriverConfig,
        silence_s: float,
        perception: PerceptionSubscriber | None = None,
    ) -> None:
        """After `silence_s` (s) without joint states, those that come count as another driver's."""
        self._driver, self._ticks = driver, StateTicks(silence_s)
        self.faults = StateFaults()
        names = driver.names(model)
        self.reports_effort = driver.reports_effort
        """The gripper's force is measured."""
        self._check = StateCheck(
            model,
            self.faults,
            names,
            reports_effort=driver.reports_effort,
            zeros_are_real=driver.zeros_are_real,
        )
        self._parser = JointStateParser(names, driver.gripper, model.gripper.max_width_m, self.faults)
        self._joints = [CdrSubscriber(node, JointState, driver.joint_states_topic, SENSOR, _joint_states)]
        if driver.gripper and driver.gripper.joint_states_topic:
            self._joints.append(
                CdrSubscriber(node, JointState, driver.gripper.joint_states_topic, SENSOR, _joint_states)
            )
        self._grippers: CdrSubscriber[GripperReading] | None = None
        if driver.gripper is None:
            self._grippers = CdrSubscriber(node, msg.GripperState, topics.GRIPPER_STATE, LATEST, _gripper_reading)
        self._confirmations = RosSubscriber(
            node, Empty, topics.JOINT_STATES_CONFIRMED, LATCHED, lambda _, mono_s: mono_s
        )
        self._phases = RosSubscriber(node, msg.EpisodeState, topics.DRIVER_EPISODE, LATCHED, _episode_phase)
        self._perception = perception
        self._truths = RosSubscriber(node, String, topics.DRIVER_TRUTH, LATCHED, _decode_truth) if perception else None
        self._arm: ArmReading | None = None
        self._gripper: GripperReading | None = None
        self._episode, self._phase = 0, Phase.RESETTING
        self._truth: GroundTruth | None = None

    @property
    def arm(self) -> ArmReading | None:
        """The joints as last believed."""
        return self._arm

    @property
    def waits_for_confirmation(self) -> bool:
        """All joints are at zero, and a person has to say that this is true; from any thread."""
        return self._check.waits_since_s is not None

    def receive(self) -> RobotState | None:
        """The newest state since the last call, or None."""
        arm: ArmReading | None = None
        readings: list[ArmReading] = []
        for topic in self._joints:
            for states in topic.receive_all():
                if (reading := self._parser.arm(states)) is not None:
                    readings.append(reading)
                self._take_gripper(self._parser.gripper(states))
        # Taken after the joints: what was published before them is there as well.
        if self._grippers is not None:
            self._take_gripper(self._grippers.receive())
        self._episode, self._phase = self._phases.receive() or (self._episode, self._phase)
        if self._check.waits_since_s is not None:
            self._take_confirmation(self._check.waits_since_s)
        for reading in readings:
            arm = self._check.take(reading, self._phase) or arm
        if arm is None:
            return None
        self._arm, tick = arm, self._ticks.next(arm.mono_s)
        if self._gripper is None or arm.mono_s - self._gripper.mono_s > self._driver.gripper_timeout_s:
            self.faults.add(_GRIPPER_SILENT, arm.mono_s)
            return None
        return self._state(arm, self._gripper, tick)

    def _take_gripper(self, reading: GripperReading | None) -> None:
        if reading is not None:
            self._gripper = self._check.gripper(reading) or self._gripper

    def _take_confirmation(self, since_s: float) -> None:
        confirmed_s = self._confirmations.receive()
        if confirmed_s is not None and confirmed_s >= since_s:
            self._check.confirm_zeros()

    def _state(self, arm: ArmReading, gripper: GripperReading, tick: int) -> RobotState:
        perception = self._perception
        seen = perception.latest(arm.mono_s) if perception else None
        if self._truths is not None:
            self._truth = self._truths.receive() or self._truth
        return RobotState(
            tick=tick,
            stamp_ns=to_wall_ns(arm.stamp_ns),
            mono_s=arm.mono_s,
            q_rad=arm.q_rad,
            dq_rad_s=arm.dq_rad_s,
            gripper_width_m=gripper.width_m,
            gripper_effort_n=gripper.effort_n,
            effort_nm=arm.effort_nm,
            object=seen,
            tote_m=perception.tote_m if perception else None,
            episode=self._episode,
            phase=self._phase,
            truth=self._truth,
        )


_GRIPPER_SILENT = StateFault(
    FaultKind.GRIPPER_SILENT,
    "",
    "nothing usable was heard of the gripper; on a topic with many joint states its own get lost (joint_states_topic)",
    True,
)


def _joint_states(message: CdrMessage, mono_s: float) -> JointStates:
    return JointStates(
        name=message.layout.message.name,
        position=message["position"],
        velocity=message["velocity"],
        effort=message["effort"],
        stamp_ns=from_time_numbers(message["header.stamp"]),
        mono_s=mono_s,
    )


def _gripper_reading(message: CdrMessage, mono_s: float) -> GripperReading:
    return GripperReading(message["width_m"], message["effort_n"], mono_s)


def _episode_phase(message: msg.EpisodeState, _: float) -> tuple[int, Phase]:
    return message.episode, Phase(message.phase)


def _decode_truth(message: String, _: float) -> GroundTruth:
    return msgspec.json.decode(message.data, type=GroundTruth)
