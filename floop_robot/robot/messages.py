"""What passes between driver, safety and policy on one robot: frozen structs, plain numbers, no numpy.

Lengths in m, angles in rad, forces in N, poses in the robot base frame (REP 103). Joint tuples follow the order of
`RobotModel.joint_names`. `mono_s` is the sender's steady clock: all three processes live on one host and share it, so
ages may be taken across them. `stamp_ns` is wall-clock time, for records and people only.
"""

from __future__ import annotations

import enum
import math
from typing import Final, Generic, TypeVar

import msgspec

from floop_robot.durable.framing import pack
from floop_robot.spec.records import GroundTruth

Vec3 = tuple[float, float, float]
Joints = tuple[float, ...]


class Cause(enum.StrEnum):
    """Why the safety side changed or replaced what the policy asked for."""

    NONE = "none"
    NONFINITE = "nonfinite"
    """The target held NaN or infinity, or had the wrong length: hold."""
    POSITION = "position"
    """The target lay outside the joint range and was clipped."""
    VELOCITY = "velocity"
    """The target needs more than the joint speed limit to be reached in time."""
    WORKSPACE = "workspace"
    """Following the target would carry the TCP out of its box."""
    STALE_STATE = "stale_state"
    """The robot state is too old."""
    LATE_TARGET = "late_target"
    """No new target arrived in time."""
    ESTOP = "estop"
    """The stop latch is set."""


class SafetyMode(enum.StrEnum):
    """What the safety process is doing."""

    WAITING = "waiting"
    """No fresh robot state yet: nothing is commanded."""
    FOLLOWING = "following"
    HOLDING = "holding"
    """Keeps the last good target: it was late, or it could not be used."""
    STOPPING = "stopping"
    """Decelerates within limits, then stands."""
    ESTOP = "estop"
    """Stopped and latched until an explicit release."""


class Phase(enum.StrEnum):
    """What the driver says about the episode it serves."""

    RESETTING = "resetting"
    """The arm moves home, or the work is being laid out."""
    READY = "ready"
    """Work is present and the arm stands at home: an episode may start."""


class PerceivedObject(msgspec.Struct, frozen=True, kw_only=True):
    """What perception reports about the object to handle."""

    object_class: str
    """One of `spec.scenario.OBJECT_CLASSES`."""
    size_m: Vec3
    """Full extents along the object's own axes."""
    position_m: Vec3
    """Centre, base frame."""
    yaw_rad: float
    """Turn about the base frame's z axis."""


class RobotState(msgspec.Struct, frozen=True, kw_only=True):
    """What a real arm and its perception publish at servo rate; the simulator fills the same."""

    tick: int
    """Counts servo periods since the driver started."""
    stamp_ns: int
    mono_s: float
    """Steady-clock time of the measurement; its age is `now - mono_s`."""
    q_rad: Joints
    dq_rad_s: Joints
    gripper_width_m: float
    """Distance between the finger pads."""
    gripper_effort_n: float
    """Force the fingers press with; 0 when they move freely."""
    object: PerceivedObject | None = None
    tote_m: Vec3 | None = None
    """Centre of the tote's floor, base frame; None where the task has none."""
    episode: int = 0
    """The last episode number whose reset the driver was asked for."""
    phase: Phase = Phase.RESETTING
    truth: GroundTruth | None = None
    """Only a simulator fills it. It goes into `EpisodeEnd` unread."""

    def invalid_reason(self, joints: int) -> str:
        """Why no policy may act on this state of an arm with so many joints, in words; empty when it may."""
        if len(self.q_rad) != joints or len(self.dq_rad_s) != joints:
            return f"it has {len(self.q_rad)} positions and {len(self.dq_rad_s)} speeds, the arm {joints} joints"
        total = sum(self.q_rad) + sum(self.dq_rad_s) + self.gripper_width_m + self.gripper_effort_n
        total += sum(self.tote_m or ())
        if (seen := self.object) is not None:
            total += sum(seen.size_m) + sum(seen.position_m) + seen.yaw_rad
        return "" if math.isfinite(total) else "it holds NaN or infinity"


class JointTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where the policy wants the joints to be one policy period from now."""

    q_rad: Joints
    gripper_width_m: float
    gripper_force_n: float
    seq: int = 0
    """Rises by one with every target of one policy process."""
    mono_s: float = 0.0
    episode: int = 0
    policy_version: int = 0


class JointCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What safety lets through to the driver, once per servo tick."""

    tick: int
    mono_s: float
    q_rad: Joints
    dq_rad_s: Joints
    gripper_width_m: float
    gripper_force_n: float


class ResetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Policy asks the driver to lay out work and bring the arm home for `episode`; repeated until the driver agrees."""

    episode: int


class Interventions(msgspec.Struct, frozen=True, kw_only=True):
    """Servo ticks changed since the safety process started, by cause."""

    nonfinite: int = 0
    position: int = 0
    velocity: int = 0
    workspace: int = 0
    stale_state: int = 0
    late_target: int = 0
    estop: int = 0

    @property
    def total(self) -> int:
        """All of them; each tick counts once."""
        return sum(msgspec.structs.astuple(self))

    def plus(self, cause: Cause) -> Interventions:
        """One more tick of `cause`."""
        if cause is Cause.NONE:
            return self
        return msgspec.structs.replace(self, **{cause.value: getattr(self, cause.value) + 1})


class SafetyState(msgspec.Struct, frozen=True, kw_only=True):
    """What the safety process says about itself, once per servo tick."""

    tick: int
    mono_s: float
    mode: SafetyMode
    cause: Cause
    """Why this tick was changed, if it was."""
    interventions: Interventions
    q_rad: Joints
    """Commanded joint positions."""
    accepted_q_rad: Joints
    """The target that is followed, after everything illegal was taken out of it."""
    target_seq: int
    """The newest `JointTarget.seq` seen; -1 before the first."""
    target_episode: int = 0
    estop: bool = False
    fault: str = ""
    """The last fault, in words; empty if none since the last release."""
    missed_ticks: int = 0


class EstopCommand(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's stop or release. Stopping needs no permission; releasing is an explicit act."""

    stop: bool
    who: str
    why: str = ""
    after: int | None = None
    """A release counts only if there were this many stops before it (`EstopLatch.stops`); None: however many."""
    until_s: float = math.inf
    """Steady clock: a release that is not carried out by then is none."""


T = TypeVar("T", bound=msgspec.Struct)
MAX_MESSAGE_BYTES: Final = 65_536
"""Longer messages are not decoded: nothing here comes near it."""


class Codec(Generic[T]):
    """Bytes to one message type and back; what does not decode becomes None and is counted."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self.refused = 0

    def encode(self, message: T) -> bytes:
        """Msgpack of the struct."""
        return pack(message)

    def decode(self, data: bytes) -> T | None:
        """The message, or None if `data` is not one."""
        if len(data) <= MAX_MESSAGE_BYTES:
            try:
                return self._decoder.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
        self.refused += 1
        return None
