"""What can be concluded about a grasp from one observation, without touching a simulator."""

from __future__ import annotations

import math

import msgspec

from floop_robot.spec.layout import Layout, Vector


class GraspParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Constants of the grasp inference."""

    min_effort_n: float = 5.0
    """Fingers that press less hold nothing."""
    min_width_m: float = 0.0025
    """Fingers closer than this have closed on nothing."""
    margin_m: float = 0.03
    """How far outside the object's bounding box the TCP may be while it holds the object."""


class GraspState(msgspec.Struct, frozen=True):
    """The numbers of one observation that reward and success speak about."""

    seen: bool
    """Perception reports an object."""
    distance_m: float
    """TCP to perceived object center."""
    lift_m: float
    """Perceived height of the center above its resting height."""
    grasped: bool
    released: bool
    """The fingers press on nothing."""
    object_height_m: float
    tote_offset_m: tuple[float, float]
    """Horizontal (x, y) from object to tote; (0, 0) where the task has none."""


class GraspEstimator:
    """Reads `GraspState` out of raw observations of one layout; stateless between calls."""

    def __init__(self, layout: Layout, parameters: GraspParameters) -> None:
        at = {name: part.start for name, part in layout.slices.items()}
        self._object, self._width, self._effort = at["object_from_tcp"], at["gripper_width"], at["gripper_effort"]
        self._height, self._size = at["object_height"], at["object_size"]
        self._tote = at.get("tote_from_object")
        self._parameters = parameters

    def read(self, observation: Vector) -> GraspState:
        """Interpret a raw observation, shape (layout.size,)."""
        o = observation.tolist()
        dx, dy, dz = o[self._object : self._object + 3]
        sx, sy, sz = o[self._size : self._size + 3]
        effort, width, height = o[self._effort], o[self._width], o[self._height]
        p = self._parameters
        pressing = effort >= p.min_effort_n and width >= p.min_width_m
        near = math.hypot(dx, dy) <= 0.5 * math.hypot(sx, sy) + p.margin_m and abs(dz) <= 0.5 * sz + p.margin_m
        return GraspState(
            seen=sz > 0.0,
            distance_m=math.sqrt(dx * dx + dy * dy + dz * dz),
            lift_m=height - 0.5 * sz,
            grasped=pressing and near and sz > 0.0,
            released=effort < p.min_effort_n,
            object_height_m=height,
            tote_offset_m=(o[self._tote], o[self._tote + 1]) if self._tote is not None else (0.0, 0.0),
        )
