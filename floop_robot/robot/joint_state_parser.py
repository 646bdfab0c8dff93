"""JointStateParser: an arm's and a gripper's joints from named joint states, in any order and among others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from floop_robot.robot.messages import Joints
from floop_robot.spec.driver_config import GripperJoint


class JointStates(Protocol):
    """Joints by name, as `sensor_msgs/JointState` has them; velocities and efforts may be missing."""

    name: Sequence[str]
    position: Sequence[float]
    velocity: Sequence[float]
    effort: Sequence[float]


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
        self._names, self._gripper, self._max_width_m = list(names), gripper, max_width_m
        self._arm: ArmReading | None = None

    def arm(self, states: JointStates, stamp_ns: int, mono_s: float) -> ArmReading | None:
        """The arm's joints, or None when the message lacks one (or its positions)."""
        index = _index(states, self._names)
        if index is None:
            return None
        order = [index[name] for name in self._names]
        q = tuple(states.position[i] for i in order)
        if len(states.velocity) == len(states.name):
            dq = tuple(states.velocity[i] for i in order)
        else:
            dq = self._derived(q, stamp_ns)
        self._arm = ArmReading(q, dq, stamp_ns, mono_s)
        return self._arm

    def gripper(self, states: JointStates, mono_s: float) -> GripperReading | None:
        """The gripper's joints, or None when they are no joints or the message lacks one."""
        gripper = self._gripper
        index = _index(states, gripper.joint_names) if gripper else None
        if gripper is None or index is None:
            return None
        order = [index[name] for name in gripper.joint_names]
        efforts = [abs(states.effort[i]) for i in order] if len(states.effort) == len(states.name) else [0.0]
        return GripperReading(
            gripper.width_m([states.position[i] for i in order], self._max_width_m),
            max(efforts) * gripper.force_n_per_effort,
            mono_s,
        )

    def _derived(self, q: Joints, stamp_ns: int) -> Joints:
        """Velocities from the last two positions, where the driver publishes none."""
        before = self._arm
        if before is None or stamp_ns <= before.stamp_ns:
            return before.dq_rad_s if before else (0.0,) * len(q)
        period_s = (stamp_ns - before.stamp_ns) * 1e-9
        return tuple((new - old) / period_s for new, old in zip(q, before.q_rad, strict=True))


def _index(states: JointStates, wanted: Sequence[str]) -> dict[str, int] | None:
    """Where each joint is; None for a malformed message, or one without a wanted joint."""
    index = {name: i for i, name in enumerate(states.name)}
    whole = len(states.position) == len(index) and all(name in index for name in wanted)
    return index if whole else None
