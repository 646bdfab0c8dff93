"""AnalogyPolicy: how an explorer tries tasks that the policy never succeeds at.

Noise on single actions stays near what the policy does already. A policy that meets a new kind of object may not even
reach it, or may grip it where it can't be held. Then every noisy attempt fails alike, and there is nothing to learn.

So an attempt may be made by analogy. The policy is shown an object of a known class and size, elsewhere and turned.
That is one coherent attempt, from approach to lift, at another part of the object. It assumes nothing about the object
beyond what was perceived.

What is shown agrees with itself. Fingers that hold a known object are as far apart as it is wide: a policy that is
shown a gap of 6 mm at an object of 6 cm lets go of it. The table is shown where it is beneath a known object. A policy
that is shown the top of a tall object, but the true table, takes it for an object that was lifted already.

The true observation and the executed action are recorded, so off-policy learners may use them; on-policy learners may
not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from floop_robot.core import PolicyActor
from floop_robot.explore.search_space import Space, Values
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.spec.layout import Layout, Vector
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks.grasp_state import GraspEstimator, GraspParameters
from floop_robot.spec.tasks.layouts import ACTION, POLICY_RATE_HZ, TCP_SPEED_M_S, YAW_SPEED_RAD_S

AIM_RADIUS = 0.6
"""Aims lie within this share of the object's horizontal extents around its center: on it, or at its edge."""
AIM_HEIGHT = 0.4
"""Aims lie within this share of the object's height above or below its center."""
AIM_LEAST_M = 0.03
"""Extents count as this large at least: beside a flat object a few millimeters more decide, whatever its height."""
SQUARE = 0.8
"""An object at least this wide for its length looks the same after a quarter turn, others after half a turn."""
SLOW_SHARE, SLOWEST = 0.25, 0.3
"""Such a share of the tries moves a held object slowly, at this share of the policy's speed at least.

In haste a slippery or heavy object is lost. Slow picks cost time where it is neither.
"""
PLAIN_SPEEDS = (SLOWEST, 0.45, 0.65)
"""Tries at a known class begin with these, at its own place: it can be held, but its world changed."""
TURN_AXIS, SPEED_AXIS = 4, 5
REACH = (0.08, 0.08, 0.06, 0.15, 0.1)
"""Steps of the search: shares of the extents along x, y and z, rad, share of speed."""
TURN_GAIN = 0.6
"""Share of the remaining way that a held object is turned in one step, until it is parallel to the tote."""
SET_DOWN_M = 0.02
"""A held object is let go this much above where it would rest. One that falls further may tip over on a wall."""
NEAR_TOTE_M = 0.15
"""A held object this near to the tote's middle, along x and y, is brought over it by the try itself.

A policy lets go before it is over the middle, in full motion. An object that fits only there lands on a wall.
"""
OVER_TOTE_M = 0.01
"""It is lowered once the tote's middle is this near, along x and y."""
APPROACH_GAIN = 0.5
"""Share of the remaining way to the tote's middle in one step."""
LOWERING = 0.3
"""Speed of lowering, as a share of full speed: a hand in a hurry presses on what it meets."""


def analogies(known_count: int, own: int | None = None) -> Space:
    """What is tried: known class; place (x, y, z), turn, speed while the object is held.

    `own`: index of the tried class among the known ones, if it is one.

    Units: shares of the object's extents, in its frame; rad; share of the policy's speed.
    The object's frame has its x axis along the object's axis that was nearest to the gripper's when the episode began.
    Policies turn the gripper to the nearest side, so what is alike for them is alike here.
    """
    quarter = 0.5 * math.pi

    def draw(rng: np.random.Generator) -> Values:
        distance, angle = AIM_RADIUS * math.sqrt(rng.random()), rng.uniform(-math.pi, math.pi)
        # Half of them at the height of the center; along the object, across it, or at any angle.
        height = 0.0 if rng.random() < 0.5 else rng.uniform(-AIM_HEIGHT, AIM_HEIGHT)
        turn = (0.0, 0.0, -quarter, -quarter, rng.uniform(-quarter, quarter))[int(rng.integers(5))]
        speed = rng.uniform(SLOWEST, 1.0) if rng.random() < SLOW_SHARE else 1.0
        place = (distance * math.cos(angle), distance * math.sin(angle), height)
        return np.array([rng.integers(known_count), *place, turn, speed], np.float64)

    high = np.array([known_count, AIM_RADIUS, AIM_RADIUS, AIM_HEIGHT, quarter, 1.0])
    low = np.array([0.0, *-high[1:-1], SLOWEST])
    axes = np.arange(len(high))
    # Many ways move at full speed: steps from there that turned back would slow them all.
    return Space(
        draw=draw,
        reach=np.array([0.0, *REACH]),
        low=low,
        high=high,
        circular=axes == TURN_AXIS,
        stops=axes == SPEED_AXIS,
        first=() if own is None else tuple(np.array([own, 0.0, 0.0, 0.0, 0.0, speed]) for speed in PLAIN_SPEEDS),
    )


class AnalogyPolicy:
    """A policy that is shown a known object elsewhere; make a new one for each episode."""

    def __init__(
        self,
        policy: PolicyActor,
        layout: Layout,
        known: Sequence[KnownClass],
        analogy: Values,
        yaws_rad: Callable[[], tuple[float, float]],
    ) -> None:
        """`analogy`: a point of `analogies`; `yaws_rad`: yaws of object and gripper as perceived now, base frame."""
        self._policy, self._layout, self._yaws_rad = policy, layout, yaws_rad
        self._turns: float | None = None
        self._place, self._size = layout.slices["object_from_tcp"], layout.slices["object_size"]
        self._width, self._height = layout.slices["gripper_width"], layout.slices["object_height"]
        self._tcp_height, self._tote = layout.slices["tcp_z"], layout.slices.get("tote_from_object")
        self._sensor = GraspEstimator(layout, GraspParameters())
        self._class, self._yaw = layout.slices["object_class"], layout.slices["yaw_difference"]
        self._yaw_in_tote = layout.slices.get("yaw_in_tote")
        shown = known[int(analogy[0])]
        self._known = self._class.start + OBJECT_CLASSES.index(shown.object_class)
        self._low, self._high = np.array(shown.size_low_m, np.float32), np.array(shown.size_high_m, np.float32)
        self._share = analogy[1:4]
        self._turn, self._held_speed = float(analogy[TURN_AXIS]), float(analogy[SPEED_AXIS])

    @staticmethod
    def is_supported(layout: Layout) -> bool:
        """Whether observations of this layout have an object to aim at."""
        needed = {"tcp_z", "object_from_tcp", "object_height", "yaw_difference", "object_size", "object_class"}
        return needed <= layout.slices.keys()

    def mean(self, observation: Vector) -> Vector:
        """The policy's best action for what it is shown."""
        action, sensed = self._policy.mean(self._shown(observation)), self._sensor.read(observation)
        if not sensed.grasped:
            return action
        move = ACTION.slices["tcp_delta"]
        action[move] *= self._held_speed
        if self._yaw_in_tote is None:
            return action
        action[ACTION.slices["yaw_delta"]] = self._turning_speed(observation[self._yaw_in_tote])
        if sensed.lift_m > SET_DOWN_M:
            action[ACTION.slices["gripper"]] = -1.0
            if (far := max(map(abs, sensed.tote_offset_m))) < NEAR_TOTE_M:
                way = APPROACH_GAIN * np.array(sensed.tote_offset_m) * POLICY_RATE_HZ / TCP_SPEED_M_S
                down = -LOWERING if far < OVER_TOTE_M else max(0.0, float(action[move][2]))
                action[move] = (*np.clip(way, -1.0, 1.0), down)
        return action

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        """The best action for what it is shown; the density under the true observation is unknown (NaN).

        Only the aim varies: noise on top made fewer of ninety attempts on open baskets succeed.
        """
        return self.mean(observation), math.nan

    @staticmethod
    def _turning_speed(yaw_in_tote: Vector) -> float:
        """What turns the held object parallel to the tote, in [-1, 1]."""
        sin, cos = yaw_in_tote.tolist()
        turn = -0.25 * math.atan2(sin, cos)
        return min(max(TURN_GAIN * turn * POLICY_RATE_HZ / YAW_SPEED_RAD_S, -1.0), 1.0)

    def _shown(self, observation: Vector) -> Vector:
        shown, yaw = observation.copy(), self._yaws_rad()[0]
        length, width, height = observation[self._size].tolist()
        if self._turns is None:
            is_square = min(length, width) >= SQUARE * max(length, width)
            self._turns = _turns_to_gripper(*self._yaws_rad(), quarter=is_square)
        yaw += self._turns
        if round(self._turns / (0.5 * math.pi)) % 2:
            length, width = width, length
        x, y, z = (self._share * np.maximum((length, width, height), AIM_LEAST_M)).tolist()
        turned = (x * math.cos(yaw) - y * math.sin(yaw), x * math.sin(yaw) + y * math.cos(yaw), z)
        shown[self._place] += np.array(turned, np.float32)
        shown[self._yaw] = _rotated(observation[self._yaw], 2.0 * self._turn)
        shown[self._size] = np.clip(observation[self._size], self._low, self._high)
        # A tall object that fell over lies lower than half of its height: the table is not shown above it.
        known_height = float(shown[self._size][2])
        table = 0.5 * (min(height, 2.0 * float(observation[self._height][0])) - known_height)
        shown[self._height] -= table
        shown[self._tcp_height] -= table + z
        if self._tote is not None:
            shown[self._tote] += (0.0, 0.0, table)
        shown[self._class] = 0.0
        shown[self._known] = 1.0
        if self._yaw_in_tote is not None:
            shown[self._yaw_in_tote] = _rotated(observation[self._yaw_in_tote], 4.0 * self._turn)
        if self._sensor.read(observation).grasped:
            shown[self._width] = shown[self._size][:2].min()
        return np.clip(shown, self._layout.low, self._layout.high)


def _rotated(sin_cos: Vector, angle_rad: float) -> tuple[float, float]:
    """Sine and cosine of an angle that is larger by `angle_rad`."""
    (sin, cos), s, c = sin_cos.tolist(), math.sin(angle_rad), math.cos(angle_rad)
    return sin * c + cos * s, cos * c - sin * s


def _turns_to_gripper(object_yaw_rad: float, gripper_yaw_rad: float, *, quarter: bool) -> float:
    """What turns the object's x axis to its axis nearest to the gripper's: quarter or half turns, rad."""
    turn = 0.5 * math.pi if quarter else math.pi
    return turn * round((gripper_yaw_rad - object_yaw_rad) / turn)
