"""PolicySpace: raw and normalized observations and actions of a task, and the conversion between them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from gymnasium import spaces

from floop_robot.learn.mlp import Array
from floop_robot.replay.ring_buffer import Normalizer
from floop_robot.spec.layout import Layout
from floop_robot.spec.task import TaskSpec


class PolicySpace(msgspec.Struct, frozen=True):
    """Layouts of raw observations and actions, and the spaces that follow from them."""

    observation: Layout
    action: Layout
    native: tuple[spaces.Space[Any], spaces.Box] | None = None
    """The environment's own spaces, where they are no vectors of float32; the layouts are their flat form."""

    @classmethod
    def of(cls, task: TaskSpec) -> PolicySpace:
        """The space of a task."""
        return cls(task.observation, task.action)

    @property
    def raw_observation(self) -> spaces.Space[Any]:
        """What the environment or the robot gives."""
        if self.native is not None:
            return self.native[0]
        return spaces.Box(self.observation.low, self.observation.high, dtype=np.float32)

    @property
    def raw_action(self) -> spaces.Box:
        """What the environment or the robot takes."""
        if self.native is not None:
            return self.native[1]
        return spaces.Box(self.action.low, self.action.high, dtype=np.float32)

    @property
    def normalized_observation(self) -> spaces.Box:
        """What the learner's networks see."""
        return spaces.Box(-np.inf, np.inf, (self.observation.size,), np.float32)

    @property
    def normalized_action(self) -> spaces.Box:
        """What the learner's networks return."""
        return spaces.Box(-1.0, 1.0, (self.action.size,), np.float32)

    @property
    def normalizer(self) -> Normalizer:
        """From raw to normalized observations."""
        return Normalizer(self.observation.offset, self.observation.scale)

    def fold(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """A first layer that takes raw observations where `weight` (out, in) and `bias` take normalized ones.

        Computed in double precision: offsets are large against scales. `in` may be wider (actions behind observations).
        """
        n = self.observation.size
        scale, offset = self.observation.scale.astype(np.float64), self.observation.offset.astype(np.float64)
        folded = weight.astype(np.float64)
        folded[:, :n] /= scale
        return folded.astype(np.float32), (bias - folded[:, :n] @ offset).astype(np.float32)

    def unfold(self, weight: Array, bias: Array) -> tuple[Array, Array]:
        """The inverse of `fold`."""
        n = self.observation.size
        raw = weight.astype(np.float64)
        offset = self.observation.offset.astype(np.float64)
        normalized = raw.copy()
        normalized[:, :n] *= self.observation.scale.astype(np.float64)
        return normalized.astype(np.float32), (bias + raw[:, :n] @ offset).astype(np.float32)
