"""JointStateParser: an arm's and a gripper's joints from named joint states, in any order and among others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from floop_robot.robot.messages import Joints
from floop_robot.robot.state_check import (
    GRIPPER_TOLERANCE,
    MAX_GAP_S,
    ArmReading,
    GripperReading,
)
from floop_robot.robot.state_faults import FaultKind, StateFault, StateFaults
from floop_robot.spec.driver_config import GripperJoint

NAMED: Final = 8
"""How many of a message's joints a text names."""


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


class JointStateParser:
    """Reads joint states by name; several publishers may each have a part.

    Messages that can't be read are counted in `faults`, if they are about the joints that are looked for.
    """

    def __init__(
        self, names: Sequence[str], gripper: GripperJoint | None, max_width_m: float, faults: StateFaults | None = None
    ) -> None:
        """`names`: the arm's joints, in the model's order. `gripper`: None where it is no joint."""
        self._gripper, self._max_width_m = gripper, max_width_m
        self._faults = faults or StateFaults()
        self._arm_joints = _JointSelection(names)
        self._gripper_joints = _JointSelection(gripper.joint_names) if gripper else None
        self._unknown: Joints = (math.nan,) * len(names)
        self._arm_s = -math.inf
        """When the arm was last heard."""

    def arm(self, states: JointStates) -> ArmReading | None:
        """The arm's joints, or None when the message lacks one (or its positions). Unknown velocities are NaN."""
        is_silent = states.mono_s - self._arm_s > MAX_GAP_S
        order = self._order(self._arm_joints, states, is_expected=is_silent and not self._is_gripper(states))
        if order is None:
            return None
        self._arm_s = states.mono_s
        position, velocity, effort = states.position, states.velocity, states.effort
        return ArmReading(
            tuple([position[i] for i in order]),
            tuple([velocity[i] for i in order]) if velocity else self._unknown,
            states.stamp_ns,
            states.mono_s,
            tuple([effort[i] for i in order]) if effort else (),
        )

    def gripper(self, states: JointStates) -> GripperReading | None:
        """The gripper's joints, or None when they are no joints or the message lacks one. NaN: effort is unknown."""
        gripper, joints = self._gripper, self._gripper_joints
        if gripper is None or joints is None or (order := self._order(joints, states, is_expected=False)) is None:
            return None
        positions = [states.position[i] for i in order]
        slack = GRIPPER_TOLERANCE * abs(gripper.open - gripper.closed)
        low, high = sorted((gripper.open, gripper.closed))
        for name, position in zip(gripper.joint_names, positions, strict=True):
            if not low - slack <= position <= high + slack:
                text = f"{name} is at {position:.6g}, its range is {low:g} to {high:g}"
                self._faults.add(StateFault(FaultKind.GRIPPER, name, text, True), states.mono_s)
                return None
        efforts = [abs(states.effort[i]) for i in order] if states.effort else []
        known = [effort for effort in efforts if effort < math.inf]  # NaN is not
        return GripperReading(
            gripper.width_m(positions, self._max_width_m),
            max(known) * gripper.force_n_per_effort if known else math.nan,
            states.mono_s,
        )

    def _is_gripper(self, states: JointStates) -> bool:
        """Whether a message has joints of the gripper: its publisher may know nothing of the arm."""
        return self._gripper is not None and not set(self._gripper.joint_names).isdisjoint(states.name)

    def _order(self, joints: _JointSelection, states: JointStates, *, is_expected: bool) -> list[int] | None:
        """Index of each joint; None, and a fault counted, for a message from which they can't be read.

        A message that has none of them is a fault only where they are expected.
        """
        joints.look(states.name)
        fault = joints.fault
        if joints.is_absent:
            fault = fault if is_expected else None
        elif fault is None:
            fault = _wrong_length(states)
        if fault is not None:
            of_gripper = joints is self._gripper_joints
            self._faults.add(msgspec.structs.replace(fault, of_gripper=of_gripper), states.mono_s)
        return joints.order if fault is None else None


class _JointSelection:
    """Where the wanted joints are in messages; looked up anew when the list of names is another object."""

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = list(wanted)
        self._names: Sequence[str] | None = None
        self.order: list[int] | None = None
        self.fault: StateFault | None = None
        self.is_absent = True
        """The message has none of them."""

    def look(self, names: Sequence[str]) -> None:
        """Find the joints among `names`."""
        if names is self._names:
            return
        index = {name: i for i, name in enumerate(names)}
        missing = [name for name in self._wanted if name not in index]
        twice = next((name for name in self._wanted if list(names).count(name) > 1), None)
        self._names, self.order, self.fault = names, None, None
        self.is_absent = len(missing) == len(self._wanted)
        if missing:
            self.fault = _missing(missing, names)
        elif twice is not None:
            self.fault = StateFault(FaultKind.NAMES_TWICE, twice, f"name has {twice} twice; two drivers on one topic?")
        else:
            self.order = [index[name] for name in self._wanted]


def _missing(missing: list[str], names: Sequence[str]) -> StateFault:
    found = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "") if names else "no joint"
    text = (
        f"name lacks {', '.join(missing)}; it has {found}; name the driver's joints as joint_names of its description"
    )
    return StateFault(FaultKind.MISSING_JOINTS, missing[0], text)


def _wrong_length(states: JointStates) -> StateFault | None:
    size = len(states.name)
    if len(states.position) != size:
        return _length("position", len(states.position), size)
    if states.velocity and len(states.velocity) != size:
        return _length("velocity", len(states.velocity), size)
    if states.effort and len(states.effort) != size:
        return _length("effort", len(states.effort), size)
    return None


def _length(field: str, found: int, size: int) -> StateFault:
    empty = "" if field == "position" else " or 0"
    return StateFault(FaultKind.LENGTHS, field, f"{field} has {found} values, its range is {size}{empty}, as name has")
