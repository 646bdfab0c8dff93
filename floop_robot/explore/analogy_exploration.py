"""AnalogyPolicy: how an explorer tries tasks that the policy never succeeds at.

Noise on single actions stays near what the policy does already. A policy that meets a new kind of object may not even
reach it, or may grip it where it can't be held. Then every noisy attempt fails alike, and there is nothing to learn.

So an attempt may be made by analogy. The policy is shown an object of a known class and size, displaced by a constant.
That is one coherent attempt, from approach to lift, at another part of the object. It assumes nothing about the object
beyond what was perceived. The true observation and the executed action are recorded, so off-policy learners may use
them; on-policy learners may not.
"""

from __future__ import annotations

import math

import numpy as np

from floop_robot.core import PolicyActor
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.spec.layout import Layout, Vector
from floop_robot.spec.scenario import OBJECT_CLASSES

AIM_RADIUS = 0.6
"""Aims lie within this share of the object's largest horizontal extent around its center: on it, or at its edge."""


class AnalogyPolicy:
    """A policy that is shown a known object elsewhere; make a new one for each episode."""

    def __init__(self, policy: PolicyActor, layout: Layout, known: KnownClass, rng: np.random.Generator) -> None:
        self._policy = policy
        self._place, self._size = layout.slices["object_from_tcp"].start, layout.slices["object_size"]
        self._class = layout.slices["object_class"]
        self._known = self._class.start + OBJECT_CLASSES.index(known.object_class)
        self._low, self._high = np.array(known.size_low_m, np.float32), np.array(known.size_high_m, np.float32)
        self._distance, self._angle = AIM_RADIUS * math.sqrt(rng.random()), rng.uniform(-math.pi, math.pi)

    @staticmethod
    def is_supported(layout: Layout) -> bool:
        """Whether observations of this layout have an object to aim at."""
        return {"object_from_tcp", "object_size", "object_class"} <= layout.slices.keys()

    def mean(self, observation: Vector) -> Vector:
        """The policy's best action for what it is shown."""
        return self._policy.mean(self._shown(observation))

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        """The best action for what it is shown; the density under the true observation is unknown (NaN).

        Only the aim varies: noise on top made fewer of ninety attempts on open baskets succeed.
        """
        return self.mean(observation), math.nan

    def _shown(self, observation: Vector) -> Vector:
        shown = observation.copy()
        size = shown[self._size]
        far = self._distance * float(max(size[0], size[1]))
        shown[self._place] += far * math.cos(self._angle)
        shown[self._place + 1] += far * math.sin(self._angle)
        shown[self._size] = np.clip(size, self._low, self._high)
        shown[self._class] = 0.0
        shown[self._known] = 1.0
        return shown
