"""ShiftDetector: which transitions show tasks that the policy was not trained on. It reads perception only."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.layout import Layout
from floop_robot.spec.scenario import OBJECT_CLASSES

SIZE_TOLERANCE = 0.1
"""Sizes this far (relative) outside the training range count as known: perception is noisy, ranges are samples."""

Observations = NDArray[np.float32]
"""Raw observations, shape (n, layout.size)."""


class KnownClass(msgspec.Struct, frozen=True):
    """A perceived class and the sizes it came in."""

    object_class: str
    size_low_m: tuple[float, float, float]
    size_high_m: tuple[float, float, float]


class KnownTasks(msgspec.Struct, frozen=True):
    """What a policy was trained on; travels with the learner's checkpoint."""

    classes: tuple[KnownClass, ...] = ()

    @classmethod
    def of(cls, layout: Layout, observations: Observations) -> KnownTasks:
        """The tasks that these observations show; empty for a task without objects."""
        if not _has_objects(layout):
            return cls()
        which, sizes = _classes_and_sizes(layout, observations)
        found = []
        for index in np.unique(which).tolist():
            low, high = sizes[which == index].min(axis=0).tolist(), sizes[which == index].max(axis=0).tolist()
            found.append(KnownClass(OBJECT_CLASSES[index], tuple(low), tuple(high)))
        return cls(tuple(found))

    def including(self, other: KnownTasks) -> KnownTasks:
        """These and others; a class comes in all sizes between the smallest and the largest of both."""
        found = {known.object_class: known for known in self.classes}
        for new in other.classes:
            was = found.get(new.object_class, new)
            low = np.minimum(was.size_low_m, new.size_low_m).tolist()
            high = np.maximum(was.size_high_m, new.size_high_m).tolist()
            found[new.object_class] = KnownClass(new.object_class, tuple(low), tuple(high))
        return KnownTasks(tuple(found.values()))


class ShiftDetector:
    """Tells new tasks from known tasks."""

    def __init__(self, layout: Layout, known: KnownTasks) -> None:
        self._layout, self._known = layout, known

    def __call__(self, observations: Observations, failing: Collection[str] = ()) -> NDArray[np.bool_]:
        """Which rows are new, shape (n,).

        A row is new when its perceived object is of no known class or size. It is new, too, when its class is one of
        `failing` (`FailureMonitor.failing`): the world changed in a way that perception does not name.
        """
        if not _has_objects(self._layout):
            return np.zeros(len(observations), np.bool_)
        which, sizes = _classes_and_sizes(self._layout, observations)
        fails: NDArray[np.bool_] = np.isin(which, [i for i, name in enumerate(OBJECT_CLASSES) if name in failing])
        if not self._known.classes:
            return fails
        known = np.zeros(len(observations), np.bool_)
        for k in self._known.classes:
            low = np.array(k.size_low_m) * (1.0 - SIZE_TOLERANCE)
            high = np.array(k.size_high_m) * (1.0 + SIZE_TOLERANCE)
            fits = ((sizes >= low) & (sizes <= high)).all(axis=1)
            known |= (which == OBJECT_CLASSES.index(k.object_class)) & fits
        return fails | ~known


def _has_objects(layout: Layout) -> bool:
    return {"object_class", "object_size"} <= layout.slices.keys()


def _classes_and_sizes(layout: Layout, observations: Observations) -> tuple[NDArray[np.int64], Observations]:
    """Perceived class index, shape (n,), and size in m, shape (n, 3), of each row."""
    which: NDArray[np.int64] = observations[:, layout.slices["object_class"]].argmax(axis=1)
    return which, observations[:, layout.slices["object_size"]]
