"""Messages between driver, safety and policy on one robot: frozen structs, plain numbers, no numpy.

Lengths in m, angles in rad, forces in N, poses in the robot base frame (REP 103). Joint tuples follow the order of
`RobotModel.joint_names`. `mono_s` is the steady clock, which all processes of a host share: `now - mono_s` is an age.
`stamp_ns` is wall-clock time, for records and people only.
"""

from __future__ import annotations

import enum
import math
from typing import Final, Generic, TypeVar

import msgspec

from floop_robot.durable.framing import pack
from floop_robot.spec.estop import EstopState
from floop_robot.spec.quantities import QUANTITIES
from floop_robot.spec.records import GroundTruth

Vec3 = tuple[float, float, float]
Joints = tuple[float, ...]


class Cause(enum.StrEnum):
    """Why safety changed or replaced the target of the policy."""

    NONE = "none"
    NONFINITE = "nonfinite"
    """The target holds NaN or infinity, or has the wrong length: safety holds the last one."""
    POSITION = "position"
    """The target is outside the joint range and was clipped."""
    VELOCITY = "velocity"
    """The target needs more than the joint speed limit to be reached in time."""
    WORKSPACE = "workspace"
    """Following the target would move the TCP out of its box."""
    STALE_STATE = "stale_state"
    """The robot state is too old."""
    LATE_TARGET = "late_target"
    """No new target arrived in time."""
    ESTOP = "estop"
    """The e-stop latch is set."""


class SafetyMode(enum.StrEnum):
    """What the safety process is doing."""

    WAITING = "waiting"
    """No recent robot state yet: nothing is commanded."""
    FOLLOWING = "following"
    HOLDING = "holding"
    """Holds the last good target, because no usable one arrived in time."""
    STOPPING = "stopping"
    """Brakes within the limits, then stands."""
    ESTOP = "estop"
    """Stopped, until an explicit reset."""
    START_REQUIRED = "start_required"
    """Reset, and stands until a separate start."""


class Phase(enum.StrEnum):
    """Where the driver is with its episode."""

    RESETTING = "resetting"
    """The arm moves home, or the object is being laid out."""
    READY = "ready"
    """The object is in place and the arm stands at home: an episode may start."""


class PerceivedObject(msgspec.Struct, frozen=True, kw_only=True):
    """The object to handle, as perception reports it."""

    object_class: str
    """One of `spec.scenario.OBJECT_CLASSES`."""
    size_m: Vec3
    """Full extents along the object's own axes."""
    position_m: Vec3
    """Center, base frame."""
    yaw_rad: float
    """Rotation about the base frame's z axis."""


PLAUSIBLE: Final = {
    "gripper_width_m": QUANTITIES["width_m"].high,
    "gripper_effort_n": QUANTITIES["n"].high,
    "object.size_m": QUANTITIES["size_m"].high,
    "object.position_m": QUANTITIES["m"].high,
    "object.yaw_rad": QUANTITIES["rad"].high,
    "tote_m": QUANTITIES["m"].high,
}
"""Largest amount of what gripper and perception report; `state_check` knows the joints."""


class RobotState(msgspec.Struct, frozen=True, kw_only=True):
    """State of an arm and its perception at servo rate, real or simulated."""

    tick: int
    """Servo periods since the driver started."""
    stamp_ns: int
    mono_s: float
    """Steady-clock time of the measurement."""
    q_rad: Joints
    dq_rad_s: Joints
    gripper_width_m: float
    """Distance between the finger pads."""
    gripper_effort_n: float
    """Force of the fingers on the object; 0 when they move freely, NaN where the gripper does not measure it."""
    effort_nm: Joints = ()
    """Measured joint efforts; NaN where unknown, empty where the driver reports none."""
    object: PerceivedObject | None = None
    tote_m: Vec3 | None = None
    """Center of the tote's floor, base frame; None where the task has no tote. It stands along the axes of the base."""
    episode: int = 0
    """Number of the last reset request."""
    phase: Phase = Phase.RESETTING
    truth: GroundTruth | None = None
    """Filled by simulators only. It goes into `EpisodeEnd` unread."""

    def invalid_reason(self, joints: int) -> str:
        """Why no policy may act on this state, for an arm with so many joints; empty when it may."""
        if len(self.q_rad) != joints or len(self.dq_rad_s) != joints:
            return f"it has {len(self.q_rad)} positions and {len(self.dq_rad_s)} speeds, the arm {joints} joints"
        total = sum(self.q_rad) + sum(self.dq_rad_s) + self.gripper_width_m + sum(self.tote_m or ())
        if (seen := self.object) is not None:
            total += sum(seen.size_m) + sum(seen.position_m) + seen.yaw_rad
        if not math.isfinite(total) or math.isinf(self.gripper_effort_n):
            return "it holds NaN or infinity"
        return self._implausible()

    def _implausible(self) -> str:
        """The first number that no gripper and no perception can mean, in words; empty when there is none."""
        seen, effort_n = self.object, self.gripper_effort_n
        for name, values in (
            ("gripper_width_m", (self.gripper_width_m,)),
            ("gripper_effort_n", () if math.isnan(effort_n) else (effort_n,)),
            ("object.size_m", seen.size_m if seen else ()),
            ("object.position_m", seen.position_m if seen else ()),
            ("object.yaw_rad", (seen.yaw_rad,) if seen else ()),
            ("tote_m", self.tote_m or ()),
        ):
            most = PLAUSIBLE[name]
            for value in values:
                if abs(value) > most:
                    unit = name.rpartition("_")[2]
                    return f"{name} is {value:g}, beyond {most:g} {unit}: a sensor's glitch, or another unit"
        return ""


class JointTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The joint positions that the policy wants one policy period from now."""

    q_rad: Joints
    gripper_width_m: float
    gripper_force_n: float
    seq: int = 0
    """Counts the targets of one policy process."""
    mono_s: float = 0.0
    episode: int = 0
    policy_version: int = 0


class JointCommand(msgspec.Struct, frozen=True, kw_only=True):
    """What safety commands the driver, once per servo tick."""

    tick: int
    mono_s: float
    q_rad: Joints
    dq_rad_s: Joints
    gripper_width_m: float
    gripper_force_n: float


class ResetRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The policy asks the driver to prepare `episode`; repeated until the driver reports that number."""

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
    """State of the safety process, once per servo tick."""

    tick: int
    mono_s: float
    mode: SafetyMode
    cause: Cause
    """Why this tick does not follow the target, if it doesn't."""
    interventions: Interventions
    q_rad: Joints
    """Commanded joint positions."""
    accepted_q_rad: Joints
    """The target that is followed, after limiting."""
    target_seq: int
    """The newest `JointTarget.seq` received; -1 before the first."""
    target_episode: int = 0
    estop: bool = False
    fault: str = ""
    """Why the robot state is unusable now, or the last fault since the last reset, in words; else empty."""
    missed_ticks: int = 0


class StopCommand(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """Stop the arm and latch that. Needs no permission."""

    who: str
    why: str = ""
    request_id: str = ""
    """A repeat of a stop of the present latch changes nothing; empty: always a new stop."""


class ResetCommand(msgspec.Struct, frozen=True, kw_only=True, tag="reset"):
    """Reset the stop that the sender has seen, and no other."""

    who: str
    stop_id: str
    nonce: str
    """Of a state that the robot published within the last `estop_latch.NONCE_LIFETIME_S`."""
    why: str = ""
    token: str = ""


class StartCommand(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Let an arm move that was reset: a reset alone never starts motion."""

    who: str
    stop_id: str
    """The stop that was reset."""


EstopCommand = StopCommand | ResetCommand | StartCommand


class EstopAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an `EstopCommand`."""

    success: bool
    """A stop holds and is on disk; or a reset, or a start, has been carried out."""
    message: str
    state: EstopState


T = TypeVar("T", bound=msgspec.Struct)
MAX_MESSAGE_BYTES: Final = 65_536
"""Longer messages are not decoded; real ones are far shorter."""


class Codec(Generic[T]):
    """Encodes and decodes one message type; what can't be decoded becomes None and is counted."""

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
