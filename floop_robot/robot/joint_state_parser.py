"""JointStateParser: an arm's and a gripper's joints from named joint states, in any order and among others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floop_robot.robot.messages import Joints
from floop_robot.spec.driver_config import GripperJoint


class JointStates(msgspec.Struct, frozen=True, kw_only=True):
    """A message of joints by name, as `sensor_msgs/JointState` has them; velocities and efforts may be missing."""

    name: Sequence[str]
    """The same object in all messages of a publisher, so that joints need not be looked up in each."""
    position: Joints
    velocity: Joints = ()
    effort: Joints = ()
    stamp_ns: int
    mono_s: float
    """Steady-clock time of arrival."""


class ArmReading(msgspec.Struct, frozen=True):
    """The arm's joints in one message."""

    q_rad: Joints
    dq_rad_s: Joints
    stamp_ns: int
    mono_s: float


class GripperReading(msgspec.Struct, frozen=True):
    """The gripper in one message."""

    width_m: float
    effort_n: float
    mono_s: float


class JointStateParser:
    """Reads joint states by name; several publishers may each have a part."""

    def __init__(self, names: Sequence[str], gripper: GripperJoint | None, max_width_m: float) -> None:
        """`names`: the arm's joints, in the model's order. `gripper`: None where it is no joint."""
        self._gripper, self._max_width_m = gripper, max_width_m
        self._arm_joints = _JointSelection(names)
        self._gripper_joints = _JointSelection(gripper.joint_names) if gripper else None
        self._arm: ArmReading | None = None

    def arm(self, states: JointStates) -> ArmReading | None:
        """The arm's joints, or None when the message lacks one (or its positions)."""
        order = self._arm_joints.order(states)
        if order is None:
            return None
        q = tuple([states.position[i] for i in order])
        if len(states.velocity) == len(states.name):
            dq = tuple([states.velocity[i] for i in order])
        else:
            dq = self._derived(q, states.stamp_ns)
        self._arm = ArmReading(q, dq, states.stamp_ns, states.mono_s)
        return self._arm

    def gripper(self, states: JointStates) -> GripperReading | None:
        """The gripper's joints, or None when they are no joints or the message lacks one."""
        gripper = self._gripper
        order = self._gripper_joints.order(states) if self._gripper_joints else None
        if gripper is None or order is None:
            return None
        efforts = [abs(states.effort[i]) for i in order] if len(states.effort) == len(states.name) else [0.0]
        return GripperReading(
            gripper.width_m([states.position[i] for i in order], self._max_width_m),
            max(efforts) * gripper.force_n_per_effort,
            states.mono_s,
        )

    def _derived(self, q: Joints, stamp_ns: int) -> Joints:
        """Velocities from the last two positions, where the driver publishes none."""
        before = self._arm
        if before is None or stamp_ns <= before.stamp_ns:
            return before.dq_rad_s if before else (0.0,) * len(q)
        period_s = (stamp_ns - before.stamp_ns) * 1e-9
        return tuple([(new - old) / period_s for new, old in zip(q, before.q_rad, strict=True)])


class _JointSelection:
    """Where the wanted joints are in messages; looked up anew when the list of names is another object."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = list(wanted)
        self._names: Sequence[str] | None = None
        self._order: list[int] | None = None

    def order(self, states: JointStates) -> list[int] | None:
        """Index of each wanted joint; None for a malformed message, or one without such a joint."""
        if states.name is not self._names:
            index = {name: i for i, name in enumerate(states.name)}
            is_whole = len(index) == len(states.name) and all(name in index for name in self._wanted)
            self._names, self._order = states.name, [index[name] for name in self._wanted] if is_whole else None
        return self._order if len(states.position) == len(states.name) else None
