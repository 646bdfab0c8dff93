"""Which rows are of work the policy was trained on, judged by what was perceived and by nothing else."""

from __future__ import annotations

from collections import deque

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.spec.layout import Layout
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.stream.columns import Matrix

SIZE_TOLERANCE = 0.1
"""Perception errs, and ranges are drawn from samples: sizes this far (relative) outside are still known work."""


class KnownClass(msgspec.Struct, frozen=True):
    """A perceived class and the sizes it came in."""

    object_class: str
    size_low_m: tuple[float, float, float]
    size_high_m: tuple[float, float, float]


class KnownTasks(msgspec.Struct, frozen=True):
    """What a policy was trained on; travels with the learner's checkpoint."""

    classes: tuple[KnownClass, ...] = ()

    @classmethod
    def of(cls, layout: Layout, observations: Matrix) -> KnownTasks:
        """The work that raw observations of shape (n, layout.size) show; empty for a task without objects."""
        if not _speaks_of_objects(layout):
            return cls()
        which = observations[:, layout.slices["object_class"]].argmax(axis=1)
        sizes = observations[:, layout.slices["object_size"]]
        found = []
        for index in np.unique(which).tolist():
            low, high = sizes[which == index].min(axis=0).tolist(), sizes[which == index].max(axis=0).tolist()
            found.append(KnownClass(OBJECT_CLASSES[index], tuple(low), tuple(high)))
        return cls(tuple(found))


class ShiftDetector:
    """Tells fresh from known work."""

    def __init__(self, layout: Layout, known: KnownTasks) -> None:
        self._layout, self._known = layout, known

    def __call__(self, observations: Matrix) -> NDArray[np.bool_]:
        """Shape (n,): True where the perceived object is of no known class, or of no known size."""
        if not _speaks_of_objects(self._layout) or not self._known.classes:
            return np.zeros(len(observations), np.bool_)
        which = observations[:, self._layout.slices["object_class"]].argmax(axis=1)
        sizes = observations[:, self._layout.slices["object_size"]]
        known = np.zeros(len(observations), np.bool_)
        for k in self._known.classes:
            low = np.array(k.size_low_m) * (1.0 - SIZE_TOLERANCE)
            high = np.array(k.size_high_m) * (1.0 + SIZE_TOLERANCE)
            fits = ((sizes >= low) & (sizes <= high)).all(axis=1)
            known |= (which == OBJECT_CLASSES.index(k.object_class)) & fits
        return ~known


def _speaks_of_objects(layout: Layout) -> bool:
    return {"object_class", "object_size"} <= layout.slices.keys()


class FailingClasses:
    """Classes of known work that robots fail at now: the world changed in a way that perception doesn't name."""

    WINDOW, MOST_FAILURES = 20, 6
    """More failures than this among the last episodes of a class are no chance: 1 in 3,000 at 95 % success."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._outcomes: dict[str, deque[bool]] = {}

    def report(self, object_class: str, *, failed: bool) -> None:
        """A robot worked on an object of this class with its deployed policy."""
        self._outcomes.setdefault(object_class, deque(maxlen=self.WINDOW)).append(failed)

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes in trouble."""
        return tuple(name for name, recent in self._outcomes.items() if sum(recent) > self.MOST_FAILURES)

    def __call__(self, observations: Matrix) -> NDArray[np.bool_]:
        """Shape (n,): True where the perceived object is of a class in trouble."""
        troubled = [OBJECT_CLASSES.index(name) for name in self.classes if name in OBJECT_CLASSES]
        if not troubled or not _speaks_of_objects(self._layout):
            return np.zeros(len(observations), np.bool_)
        which = observations[:, self._layout.slices["object_class"]].argmax(axis=1)
        return np.isin(which, troubled)
