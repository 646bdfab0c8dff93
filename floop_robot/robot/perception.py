"""From what perception publishes, in any frame, to an object in the arm's base frame; or why that can't be told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from floop_robot.robot.frame_tree import FrameError, FrameTree, TransformPending
from floop_robot.robot.messages import PerceivedObject, Vec3
from floop_robot.robot.transform import Transform
from floop_robot.robot.upright import TILTED_RAD, as_upright
from floop_robot.spec.frame_config import FARTHEST_M

LARGEST_OBJECT_M: Final = 2.0
"""No object is larger along an axis. What is, was most likely given in millimetres."""
RECENT_S: Final = 2.0
"""How long a refusal is shown after the last of its kind."""
TEXT_S: Final = 1.0
"""How often the text of a lasting refusal changes: there are numbers in it."""
TF_START_S: Final = 2.0
"""How long after the first look at TF a frame may be missing: publishers have to be discovered."""
SAME_OBJECT_M: Final = 0.1
"""A detection this near to the object that was followed is that object: faster ones are not handled."""
UNKNOWN_CLASS: Final = "unknown"


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One object, as a message said it."""

    frame: str
    stamp_ns: int
    pose: Transform
    """In `frame`."""
    object_class: str = ""
    """Empty: not said."""
    size_m: Vec3 | None = None
    """Full extents along its own axes; None: not said."""
    score: float = 1.0


class Sightings(msgspec.Struct, frozen=True):
    """What one message said: several objects, or none if perception looked and saw none."""

    mono_s: float
    """Steady-clock time of arrival."""
    objects: tuple[Sighting, ...]
    faults: tuple[str, ...] = ()
    """Why others of the same message can't be used."""


class Found(msgspec.Struct, frozen=True):
    """The object to handle; no `sighting` and no `place` mean that there is none."""

    mono_s: float
    sighting: Sighting | None = None
    place: Transform | None = None
    """In the base frame."""


class _Refusal(msgspec.Struct):
    """The last of a topic."""

    text: str = ""
    text_s: float = -math.inf
    last_s: float = -math.inf


class RefusalLog:
    """Counts what was refused, by topic, and knows the last reasons; written by one thread, read by any."""

    def __init__(self, notice: Callable[[str], None] = lambda _: None) -> None:
        """`notice` gets a line when a topic is refused after a while without."""
        self._notice = notice
        self.counts: Counter[str] = Counter()
        self._last: dict[str, _Refusal] = {}

    def add(self, topic: str, reason: str, now_s: float) -> None:
        """A message of `topic` was refused."""
        self.counts[topic] += 1
        last = self._last.setdefault(topic, _Refusal())
        is_new, last.last_s = now_s - last.last_s > RECENT_S, now_s
        if is_new or now_s - last.text_s > TEXT_S:
            last.text, last.text_s = f"{topic} is refused: {reason}", now_s
        if is_new:
            self._notice(last.text)

    def line(self, now_s: float) -> str:
        """Why something was refused lately; empty if nothing was."""
        return "; ".join(each.text for each in list(self._last.values()) if now_s - each.last_s <= RECENT_S)


class PoseLocator:
    """Finds the frames of poses: first in the driver's table, then in TF."""

    def __init__(
        self,
        tree: FrameTree,
        assumed_frame: str,
        read_tf: Callable[[], None] | None,
        clock: Callable[[], float],
    ) -> None:
        """`assumed_frame`: of poses that name none. `read_tf` brings `tree` up to date; None: TF can't be read here."""
        self._tree, self._assumed, self._read_tf, self._clock = tree, assumed_frame, read_tf, clock
        self._first_look_s = math.inf

    def locate(self, sighting: Sighting) -> Transform:
        """Its pose in the base frame. Raises FrameError, or TransformPending where a later try may succeed."""
        frame = sighting.frame or self._assumed
        if not frame:
            raise FrameError("its frame_id is empty; set it, or assumed_frame in the driver file")
        found = (self._tree.from_table(frame) or self._from_tf(frame, sighting.stamp_ns)) @ sighting.pose
        for axis, value in zip("xyz", found.position_m, strict=True):
            if abs(value) > FARTHEST_M:
                raise FrameError(
                    f"its {axis} in {self._tree.base_frame} is {value:.4g} m, beyond {FARTHEST_M:g} m; give metres"
                )
        return found

    def _from_tf(self, frame: str, stamp_ns: int) -> Transform:
        if self._read_tf is None:
            raise FrameError(
                f"the frame {frame!r} is neither {self._tree.base_frame} nor in frames of the driver file; "
                "add it there. TF can't be read: install ros-$ROS_DISTRO-tf2-msgs"
            )
        self._first_look_s = min(self._first_look_s, self._clock())
        self._read_tf()
        try:
            return self._tree.from_tf(frame, stamp_ns)
        except FrameError as error:
            if self._clock() - self._first_look_s < TF_START_S:
                raise TransformPending(str(error)) from None
            raise


class ObjectFinder:
    """One topic's object in the base frame. A pose whose transform is on its way is tried again."""

    def __init__(self, topic: str, locator: PoseLocator, refusals: RefusalLog, timeout_s: float) -> None:
        """After `timeout_s` (s) a pose is not worth waiting for."""
        self._topic, self._locator, self._refusals, self._timeout_s = topic, locator, refusals, timeout_s
        self._waiting: Sightings | None = None

    def find(self, new: Sightings | None, now_s: float, followed_m: Vec3 | None = None) -> Found | None:
        """What the newest message says, or the one before it; None when nothing can be said.

        `followed_m`: where the object was that is handled now, base frame.
        """
        for message in (new, self._waiting):
            if message is None:
                continue
            try:
                placed, faults = self._place(message)
            except TransformPending as pending:
                self._wait(message, str(pending), now_s)
                continue
            self._waiting = None
            for fault in faults:
                self._refusals.add(self._topic, fault, now_s)
            if placed:
                return Found(message.mono_s, *choose(placed, followed_m))
            return None if faults else Found(message.mono_s)
        return None

    def _place(self, message: Sightings) -> tuple[list[tuple[Sighting, Transform]], list[str]]:
        placed, faults = [], list(message.faults)
        for sighting in message.objects:
            try:
                placed.append((sighting, self._locator.locate(sighting)))
            except TransformPending:
                raise
            except FrameError as error:
                faults.append(str(error))
        return placed, faults

    def _wait(self, message: Sightings, why: str, now_s: float) -> None:
        if now_s - message.mono_s > self._timeout_s:
            self._refusals.add(self._topic, why, now_s)
            if message is self._waiting:
                self._waiting = None
        elif self._waiting is None:
            self._waiting = message


class PerceptionReport(msgspec.Struct, frozen=True):
    """What became of perception's messages."""

    problem: str = ""
    """Why messages are refused now; empty if none are."""
    refused: int = 0
    by_topic: str = ""
    frame: str = ""
    """The frame of the last pose that was used."""
    tilt_rad: float = 0.0
    """Between the object's z axis and the base's."""

    @property
    def is_tilted(self) -> bool:
        """The object does not stand as its model does."""
        return self.tilt_rad > TILTED_RAD


def perceived(sighting: Sighting, place: Transform, assumed: PerceivedObject | None) -> PerceivedObject | None:
    """The object at `place` (base frame); None when neither it nor `assumed` tells its size."""
    size = sighting.size_m or (assumed.size_m if assumed else None)
    name = sighting.object_class or (assumed.object_class if assumed else UNKNOWN_CLASS)
    if size is None:
        return None
    upright = as_upright(place.rotation, size)
    return PerceivedObject(
        object_class=name, size_m=upright.size_m, position_m=place.position_m, yaw_rad=upright.yaw_rad
    )


def checked_size(size_m: Vec3) -> Vec3:
    """Extents from a message; raises ValueError, with the value, for ones that no object has."""
    for axis, value in zip("xyz", size_m, strict=True):
        if not 0.0 < value <= LARGEST_OBJECT_M:  # NaN is not, either
            raise ValueError(f"its size along {axis} is {value:g}; give metres, above 0, at most {LARGEST_OBJECT_M:g}")
    return size_m


def choose(placed: Sequence[tuple[Sighting, Transform]], followed_m: Vec3 | None) -> tuple[Sighting, Transform]:
    """The object nearest to the one followed so far, if that is near enough; else the one with the highest score.

    So of two objects with like scores the arm keeps to one. `placed`: with places in the base frame, one at least.
    """
    if followed_m is not None:
        gaps = [math.dist(place.position_m, followed_m) for _, place in placed]
        if min(gaps) <= SAME_OBJECT_M:
            return placed[gaps.index(min(gaps))]
    return max(placed, key=lambda each: each[0].score)
