"""Small Gymnasium environments for `train_matrix.py`: a point has to come to the origin, or to a goal.

Each has one property that people's environments have. Ids: `matrix_envs:NAME-v0`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Box, F32, F64 = spaces.Box, np.float32, np.float64
INF = np.inf
LENGTH = 20
GOAL_RADIUS = 0.15


class Point(gymnasium.Env[Any, Any]):
    """Moves by 0.2 × action; starts within ±1. `view` makes the observation of position, velocity and time."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        act: Box | None = None,
        ob: spaces.Space[Any] | None = None,
        view: Callable[[Point], Any] = lambda env: env.x,
        reward: Callable[[Point], float] = lambda env: -float(np.abs(env.x - env.goal).sum()),
        dims: int = 2,
        is_goal: bool = False,
        has_inertia: bool = False,
        ends: Callable[[Point], bool] = lambda env: False,
        tells_success: bool = False,
        turn: float = 0.0,
    ) -> None:
        self.action_space = act or Box(-1.0, 1.0, (dims,), F32)
        self.observation_space = ob or Box(-3.0, 3.0, (dims,), F32)
        self.view, self.reward, self.dims = view, reward, dims
        self.is_goal, self.has_inertia, self.ends, self.tells_success = is_goal, has_inertia, ends, tells_success
        self.rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        low, high = (b.astype(float).reshape(-1) for b in (self.action_space.low, self.action_space.high))
        self._low, self._range = low, np.where(high > low, high - low, 1.0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1, self.dims), np.zeros(self.dims)
        self.goal = self.np_random.uniform(-1, 1, self.dims) if self.is_goal else np.zeros(self.dims)
        self.last, self.t = np.zeros(self.dims), 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        unit = (np.asarray(action, float).reshape(-1) - self._low) / self._range * 2.0 - 1.0
        unit = np.clip(unit[: self.dims], -1.0, 1.0)
        if self.dims == 2:
            unit = self.rotation @ unit
        self.v = 0.8 * self.v + 0.1 * unit if self.has_inertia else 0.2 * unit
        self.x, self.last, self.t = np.clip(self.x + self.v, -3.0, 3.0), unit, self.t + 1
        info = {"is_success": self.is_there()} if self.tells_success else {}
        return self._observe(), float(self.reward(self)), bool(self.ends(self)), False, info

    def is_there(self) -> bool:
        return float(np.linalg.norm(self.x - self.goal)) < GOAL_RADIUS

    def _observe(self) -> Any:
        seen, space = self.view(self), self.observation_space
        if isinstance(space, Box):
            return np.asarray(seen).astype(space.dtype).reshape(space.shape)
        return seen


class GoalPoint(Point):
    """As Gymnasium-Robotics' GoalEnv: sparse reward, computed for any goal."""

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -(np.linalg.norm(achieved - desired, axis=-1) > GOAL_RADIUS).astype(F32)


class OwnTruncation(Point):
    """Cuts its episodes by itself; registered without a limit."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, ended, _, info = super().step(action)
        return obs, reward, ended, self.t >= LENGTH, info


def box(size: int, bound: float = 3.0, dtype: Any = F32) -> Box:
    return Box(-bound, bound, (size,), dtype)


def parts(**more: spaces.Space[Any]) -> spaces.Dict:
    return spaces.Dict({"pose": box(2), **more})


def goals(view: Callable[[Point], Any] = lambda env: env.x.astype(F32)) -> dict[str, Any]:
    keys = ("observation", "achieved_goal", "desired_goal")

    def seen(env: Point) -> dict[str, Any]:
        return {"observation": view(env), "achieved_goal": env.x.astype(F32), "desired_goal": env.goal.astype(F32)}

    return {"ob": spaces.Dict({key: box(2) for key in keys}), "view": seen, "is_goal": True}


def picture(size: int) -> dict[str, Any]:
    def draw(env: Point) -> Any:
        image = np.zeros((size, size, 1), np.uint8)
        i, j = ((env.x + 3.0) / 6.0 * (size - 2)).astype(int)
        image[i : i + 2, j : j + 2] = 255
        return image

    return {"ob": Box(0, 255, (size, size, 1), np.uint8), "view": draw}


def sparse(env: Point) -> float:
    return 0.0 if env.is_there() else -1.0


HUGE = Box(np.array([-INF] * 3), np.array([INF] * 3), dtype=F64)
VARIANTS: dict[str, dict[str, Any]] = {
    # Observations
    "Plain": {},
    "Float64": {"ob": box(2, dtype=F64)},
    "Integers": {"ob": box(2, 3000, np.int32), "view": lambda e: 1000 * e.x},
    "Bytes": {"ob": Box(0, 255, (2,), np.uint8), "view": lambda e: (e.x + 3) * 42},
    "Matrix": {"ob": Box(-3, 3, (2, 1), F32)},
    "Cube": {"ob": Box(-3, 3, (1, 2, 2), F64), "view": lambda e: np.concatenate([e.x, e.x / 2])},
    "Scalar": {"dims": 1, "ob": box(1)},
    "Constant": {"ob": Box(np.array([-3, -3, 1], F32), np.array([3, 3, 1], F32)), "view": lambda e: [*e.x, 1]},
    "Unbounded": {"ob": box(2, INF, F64)},
    "HalfBounded": {"ob": Box(np.array([-INF, -3], F32), np.array([3, INF], F32))},
    "FloatMax": {"ob": box(2, float(np.finfo(F32).max))},
    "LooseBounds": {"ob": box(2, 1e4)},
    "Thousands": {"ob": box(2, INF, F64), "view": lambda e: 1000 * e.x},
    "Thousandths": {"ob": box(2, 0.003, F64), "view": lambda e: e.x / 1000},
    "FarFromZero": {"ob": HUGE, "view": lambda e: [*(e.x + 1000), 5000 + e.t]},
    "MixedSizes": {"ob": HUGE, "view": lambda e: [e.x[0] * 500, e.x[1], 1e4]},
    "Distractors": {"ob": box(12), "view": lambda e: [*e.x, *np.sin(np.arange(10) + e.t)]},
    "WithTime": {"ob": Box(-3, 20, (3,), F32), "view": lambda e: [*e.x, e.t]},
    "Dict": {"ob": parts(speed=box(2)), "view": lambda e: {"pose": e.x.astype(F32), "speed": e.v.astype(F32)}},
    "DictKinds": {
        "ob": parts(phase=spaces.Discrete(3), flags=spaces.MultiBinary(2), grid=spaces.MultiDiscrete([2, 3])),
        "view": lambda e: {
            "pose": e.x.astype(F32),
            "phase": e.t % 3,
            "flags": (e.x > 0).astype(np.int8),
            "grid": np.array([e.t % 2, e.t % 3]),
        },
    },
    "Discrete": {"ob": spaces.Discrete(7), "view": lambda e: int(np.clip(round(e.x[0] + 3), 0, 6)), "dims": 1},
    "MultiDiscrete": {
        "ob": spaces.MultiDiscrete([13, 13]),
        "view": lambda e: np.clip(np.rint(2 * e.x + 6), 0, 12).astype(int),
    },
    "Picture8": picture(8),
    # Actions
    "Act64": {"act": Box(-0.1, 0.1, (2,), F64)},
    "Asymmetric": {"act": Box(np.array([-0.1, 3.0]), np.array([0.7, 3.3]), dtype=F64)},
    "ActInt8": {"act": Box(np.array([-100, 0]), np.array([100, 90]), (2,), np.int8)},
    "ActBytes": {"act": Box(0, 255, (2,), np.uint8)},
    "ActMatrix": {"act": Box(-1, 1, (1, 2), F32)},
    "ActTiny": {"act": Box(-1e-3, 1e-3, (2,), F32)},
    "ActHuge": {"act": Box(-1e4, 1e4, (2,), F32)},
    "ActFixed": {"act": Box(np.array([-1, -1, 2], F32), np.array([1, 1, 2], F32))},
    "ActSpare": {"act": Box(-1, 1, (5,), F32)},
    "SixAxes": {"dims": 6, "ob": box(6)},
    "Turned": {"turn": 2.0},
    # Rewards, ends and goals
    "RewardTimes100": {"reward": lambda e: -100.0 * float(np.abs(e.x).sum())},
    "RewardHundredth": {"reward": lambda e: -0.01 * float(np.abs(e.x).sum())},
    "RewardPositive": {"reward": lambda e: 3.0 - float(np.abs(e.x).sum())},
    "Sparse": {"reward": sparse, "tells_success": True},
    "EndsThere": {"ends": Point.is_there, "tells_success": True},
    "EndsOutside": {
        "ends": lambda e: bool(np.abs(e.x).max() > 1.3),
        "reward": lambda e: 1.0 - float(np.abs(e.x).sum()),
    },
    "OneStep": {"ends": lambda e: True},
    "Inertia": {"has_inertia": True, "ob": box(4), "view": lambda e: [*e.x, *e.v]},
    "MovingTarget": {"is_goal": True, "ob": box(4), "view": lambda e: [*e.x, *e.goal]},
    "NoLimit": {"kind": OwnTruncation, "limit": None},
    "Long": {"limit": 200, "has_inertia": True, "ob": box(4), "view": lambda e: [*e.x, *e.v]},
    "Goal": {"kind": GoalPoint, **goals(), "reward": sparse, "tells_success": True},
    "GoalEnds": {"kind": GoalPoint, **goals(), "reward": sparse, "tells_success": True, "ends": Point.is_there},
    "GoalDense": {**goals(), "tells_success": True},
}

for _name, _options in VARIANTS.items():
    _kwargs = {k: v for k, v in _options.items() if k not in ("kind", "limit")}
    gymnasium.register(
        f"{_name}-v0",
        entry_point=_options.get("kind", Point),
        max_episode_steps=_options.get("limit", LENGTH),
        kwargs=_kwargs,
    )
