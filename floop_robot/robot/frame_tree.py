"""FrameTree: where frames are in the arm's base frame; from a fixed table, and from what is published as TF.

TF is read without `tf2_ros`. A listener of that would wake the executor for each message of every robot; this tree is
filled only when a pose needs it. It also works, and is tested, where only the messages of tf2 are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from floop_robot.robot.transform import Transform, from_rpy
from floop_robot.spec.errors import nearest
from floop_robot.spec.frame_config import FixedFrame, bare_name

HISTORY_NS: Final = 10_000_000_000
"""How long transforms are kept, as in tf2."""
JUMP_BACK_NS: Final = 1_000_000_000
"""A stamp that is older than the newest by more means that time began anew, as when a simulation is reset."""
MAX_SAMPLES: Final = 2_000
"""Of one frame: 10 s at 200 Hz."""
MAX_TF_FRAMES: Final = 1_000
"""More names than that are no robot cell: further ones are left out, and counted."""
MAX_DEPTH: Final = 100
"""Longer chains of parents are taken for a circle."""


class FrameError(ValueError):
    """Why a frame's place is not known, in words for a person."""


class TransformPending(FrameError):
    """A transform that is newer than a pose has not arrived yet; it may come."""


class _Link:
    """A frame in its parent: at all times alike, or as sampled."""

    def __init__(self, parent: str, before: str = "") -> None:
        """`before`: the parent that it had earlier."""
        self.parent, self.before = parent, before
        self.fixed: Transform | None = None
        self.samples: deque[tuple[int, Transform]] = deque(maxlen=MAX_SAMPLES)

    def add(self, stamp_ns: int, transform: Transform) -> None:
        """Another sample; one out of order is left out."""
        if self.samples and stamp_ns <= self.samples[-1][0]:
            if stamp_ns > self.samples[-1][0] - JUMP_BACK_NS:
                return
            self.samples.clear()
        self.samples.append((stamp_ns, transform))
        while self.samples[0][0] < stamp_ns - HISTORY_NS:
            self.samples.popleft()

    def at(self, name: str, stamp_ns: int) -> Transform:
        """Where it was. Raises FrameError."""
        if self.fixed is not None:
            return self.fixed
        if stamp_ns == 0:
            raise FrameError(f"its stamp is not set, and {name} may move; stamp it with the time of the image")
        newest_ns, newest = self.samples[-1]
        if stamp_ns > newest_ns:
            late_s = (stamp_ns - newest_ns) * 1e-9
            raise TransformPending(f"its stamp is {late_s:.3g} s newer than the newest transform of {name}")
        after_ns, after = newest_ns, newest
        for before_ns, before in reversed(self.samples):
            if before_ns == stamp_ns:
                return before
            if before_ns < stamp_ns:
                return before.towards(after, (stamp_ns - before_ns) / (after_ns - before_ns))
            after_ns, after = before_ns, before
        early_s = (after_ns - stamp_ns) * 1e-9
        raise FrameError(f"its stamp is {early_s:.3g} s older than all transforms of {name}; compare the clocks")


class FrameTree:
    """Not for several threads at once."""

    def __init__(
        self,
        base_link: str,
        prefix: str = "",
        frames: Mapping[str, FixedFrame] | None = None,
        also: str = "",
    ) -> None:
        """`prefix`: what TF has before the robot's own frames. `frames`: those of the driver description.

        `also`: another name of the base link, which TF doesn't use.
        """
        self._base, self._prefix = base_link, prefix
        bases = (base_link, also or base_link)
        self._table = _resolved(bases, {bare_name(name): frame for name, frame in (frames or {}).items()})
        self._links: dict[str, _Link] = {}
        self._contested: dict[str, str] = {}
        self.left_out = 0
        """Transforms of TF that can't be true, or are of too many frames."""

    @property
    def base_frame(self) -> str:
        """Name of the arm's base frame, as TF has it."""
        return self._prefix + self._base

    def from_table(self, frame: str) -> Transform | None:
        """Where a frame of the driver description is in the base frame, or the base itself; None for any other.

        With and without the robot's prefix: the table is about this robot alone.
        """
        name = bare_name(frame)
        return self._table.get(name) or self._table.get(name.removeprefix(self._prefix))

    def add(self, parent: str, child: str, transform: Transform, stamp_ns: int | None) -> None:
        """What TF says; without a stamp it holds at all times."""
        parent, child = bare_name(parent), bare_name(child)
        link = self._links.get(child)
        if parent == child or not parent or not child or (link is None and len(self._links) >= MAX_TF_FRAMES):
            self.left_out += 1
            return
        if link is None or link.parent != parent:
            if link is not None and link.before == parent:  # there and back: two say different things
                self._contested[child] = f"TF gives {child} two parents, {parent} and {link.parent}; end one publisher"
            link = self._links[child] = _Link(parent, link.parent if link else "")
        if stamp_ns is None:
            link.fixed = transform
        else:
            link.fixed = None
            link.add(stamp_ns, transform)

    def from_tf(self, frame: str, stamp_ns: int) -> Transform:
        """Where a frame of TF was in the base frame at a time. Raises FrameError, or TransformPending."""
        name, base = bare_name(frame), self.base_frame
        if name not in self._known():
            raise FrameError(self._unknown(name))
        ups, base_ups = self._ancestors(name), self._ancestors(base)
        shared = next((each for each in ups if each in base_ups), None)
        if shared is None:
            raise FrameError(f"TF does not connect {name} with {base}{self._hint(base)}")
        return self._place(base, shared, stamp_ns).inverse() @ self._place(name, shared, stamp_ns)

    def _ancestors(self, name: str) -> list[str]:
        """The frame itself, its parent, and so on."""
        found = [name]
        while (link := self._links.get(found[-1])) is not None:
            if len(found) > MAX_DEPTH:
                raise FrameError(f"in TF the parents of {name} go round in a circle")
            found.append(link.parent)
        return found

    def _place(self, name: str, ancestor: str, stamp_ns: int) -> Transform:
        """Where a frame is in one of its ancestors."""
        found = Transform()
        while name != ancestor:
            link = self._links[name]
            if name in self._contested:
                raise FrameError(self._contested[name])
            found = link.at(name, stamp_ns) @ found
            name = link.parent
        return found

    def _known(self) -> set[str]:
        return {*self._links, *(link.parent for link in self._links.values())}

    def _unknown(self, name: str) -> str:
        where = f"the frame {name!r} is neither {self.base_frame} nor in frames of the driver file"
        return f"{where}; TF does not have it{self._hint(name)}" if self._links else f"{where}, and no TF was heard"

    def _hint(self, name: str) -> str:
        """What else the frame may be called."""
        known = self._known()
        ends = sorted(each for each in known if each.endswith(f"/{name}") or name.endswith(f"/{each}"))
        near = ends[0] if ends else nearest(name, known, 0.6)
        if not near:
            return ""
        own = name == self.base_frame
        return f"; TF has {near!r}" + (": see frame_prefix in the driver file" if own else "")


def _resolved(bases: tuple[str, ...], frames: Mapping[str, FixedFrame]) -> dict[str, Transform]:
    """Where the frames of a checked table are in the base frame, and the base itself by each of its names."""
    found = dict.fromkeys(bases, Transform())
    waiting = dict(frames)
    while waiting:  # each round resolves one at least, since no parents go round in a circle
        for name, frame in list(waiting.items()):
            parent = found.get(bare_name(frame.parent) or bases[0])
            if parent is not None:
                found[name] = parent @ from_rpy(frame.xyz_m, frame.rpy_rad)
                del waiting[name]
    return found
