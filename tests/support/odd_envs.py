"""Small Gymnasium environments with one unusual property each: a point in the plane has to come to the origin."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeAwareObservation


class Point(gymnasium.Env[Any, Any]):
    """Action: velocity; observation: position."""

    act: spaces.Space[Any] = spaces.Box(-1.0, 1.0, (2,), np.float32)
    ob: spaces.Space[Any] = spaces.Box(-2.0, 2.0, (2,), np.float32)
    info: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.action_space, self.observation_space = self.act, self.ob

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        self.x, self.t = self.np_random.uniform(-1.0, 1.0, 2), 0
        return self.obs(), {}

    def obs(self) -> Any:
        return self.x.astype(np.float32)

    def reward(self) -> Any:
        return -float(np.abs(self.x).sum())

    def step(self, action):  # type: ignore[no-untyped-def]
        assert self.action_space.contains(action), f"{action!r} is outside"
        low, high = (b.astype(float).reshape(2) for b in (self.action_space.low, self.action_space.high))
        unit = (np.asarray(action, float).reshape(2) - low) / (high - low) * 2.0 - 1.0
        self.x, self.t = np.clip(self.x + 0.2 * unit, -2.0, 2.0), self.t + 1
        return self.obs(), self.reward(), False, False, self.info


class Matrix(Point):
    ob = spaces.Box(-2.0, 2.0, (2, 1, 3), np.float64)
    act = spaces.Box(-1.0, 1.0, (1, 2), np.float32)

    def obs(self) -> Any:
        return np.outer(self.x, [1.0, 0.5, 0.0]).reshape(2, 1, 3)


class Thousands(Point):
    """Whole numbers far from 0, and a value that never changes."""

    ob = spaces.Box(np.array([-np.inf, -np.inf, 7.0]), np.array([np.inf, np.inf, 7.0]), dtype=np.float64)

    def obs(self) -> Any:
        return np.array([*(1000.0 * self.x), 7.0])


class Kinds(Point):
    ob = spaces.Dict(
        {
            "phase": spaces.Discrete(3),
            "flags": spaces.MultiBinary(2),
            "grid": spaces.MultiDiscrete([2, 4]),
            "pose": spaces.Box(-2.0, 2.0, (2,), np.float64),
            "count": spaces.Box(0, 5000, (1,), np.int32),
        }
    )

    def obs(self) -> Any:
        return {
            "phase": self.t % 3,
            "flags": [0, 1],
            "grid": np.array([1, 3]),
            "pose": self.x,
            "count": np.array([100 * self.t]),
        }


class SmallImage(Point):
    """Too small for convolutions."""

    ob = spaces.Box(0, 255, (8, 8, 3), np.uint8)

    def obs(self) -> Any:
        image = np.zeros(self.observation_space.shape, np.uint8)
        i, j = ((self.x + 2.0) / 4.0 * (image.shape[0] - 1)).round().astype(int)
        image[i, j] = 10, 100, 255
        return image


class Image(SmallImage):
    ob = spaces.Box(0, 255, (36, 36, 3), np.uint8)


class LuckyImage(Image):
    """Succeeds in the first episode of a process and fails in two; then it always succeeds."""

    resets = itertools.count()

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        self.number = next(self.resets)
        return super().reset(seed=seed)

    def reward(self) -> Any:
        return 0.0

    def step(self, action):  # type: ignore[no-untyped-def]
        return *super().step(action)[:4], {"is_success": self.number not in (1, 2)}


class ImprovingImage(Image):
    """Every episode pays more than all before it, in any process."""

    def reward(self) -> Any:
        return time.monotonic()


class Handle:
    """An object of the user's own module."""


class OddInfoImage(Image):
    """Tells what no other process can read, and what it can."""

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        return super().reset(seed=seed)[0], {"sim": threading.Lock()}

    def step(self, action):  # type: ignore[no-untyped-def]
        itself: list[Any] = []
        itself.append(itself)
        odd = {"sim": threading.Lock(), "handles": [Handle()], "itself": itself, "objects": np.array([None, Handle()])}
        plain = {"is_success": torch.tensor(True), "force": {"newton": np.float32(3.0), "at": (1, [np.zeros(2)])}}
        return *super().step(action)[:4], odd | plain


class Short(Point):
    """Can't go on beyond its registered limit."""

    def obs(self) -> Any:
        assert self.t <= 20
        return super().obs()


class Whole(Point):
    """Integers; a range that float32 can't hold."""

    act = spaces.Box(np.array([-100, 0]), np.array([127, 7]), (2,), np.int8)


class Double(Point):
    act = spaces.Box(np.array([-0.1, 3.0]), np.array([0.7, 3.3]), dtype=np.float64)


class Goal(Point):
    """A goal as in Gymnasium-Robotics; `compute_reward` takes rows."""

    ob = spaces.Dict({k: spaces.Box(-2, 2, (2,), np.float32) for k in ("observation", "achieved_goal", "desired_goal")})

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        gymnasium.Env.reset(self, seed=seed)
        self.goal = self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)
        return super().reset()

    def obs(self) -> Any:
        x = self.x.astype(np.float32)
        return {"observation": x, "achieved_goal": x, "desired_goal": self.goal}

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return -(np.linalg.norm(achieved - desired, axis=-1) > 0.15).astype(np.float32)

    def step(self, action):  # type: ignore[no-untyped-def]
        obs, *_ = super().step(action)
        reward = float(self.compute_reward(obs["achieved_goal"], obs["desired_goal"], {}))
        return obs, reward, False, False, {"is_success": reward == 0.0}


class OneByOne(Goal):
    """`compute_reward` takes one row only."""

    def compute_reward(self, achieved: Any, desired: Any, info: Any) -> Any:
        return 0.0 if float(np.linalg.norm(achieved - desired)) < 0.15 else -1.0


class WordGoal(Point):
    ob = spaces.Dict({"observation": Point.ob, "achieved_goal": spaces.Discrete(2), "desired_goal": spaces.Discrete(2)})

    def obs(self) -> Any:
        return {"observation": super().obs(), "achieved_goal": int(self.x[0] > 0), "desired_goal": 1}


class WrongGoal(Goal):
    """`compute_reward` says something else than `step`."""

    def step(self, action):  # type: ignore[no-untyped-def]
        obs, reward, *rest = super().step(action)
        return obs, reward - 2.5, *rest


class NanAtStep3(Point):
    def obs(self) -> Any:
        return np.array([0.0, np.nan]) if self.t == 3 else super().obs()


class InfReward(Point):
    def reward(self) -> Any:
        return np.inf if self.t == 2 else 0.0


class NoReward(Point):
    def reward(self) -> Any:
        return None


class SuccessText(Point):
    info: ClassVar[dict[str, Any]] = {"is_success": "False"}


class WrongRate(Point):
    metadata: ClassVar[dict[str, Any]] = {"render_modes": [], "render_fps": "auto"}


class WrongShape(Point):
    def obs(self) -> Any:
        return np.zeros(3, np.float32)


class FourValues(Point):
    def step(self, action):  # type: ignore[no-untyped-def]
        return super().step(action)[:4]


class OldReset(Point):
    def reset(self):  # type: ignore[no-untyped-def]
        return np.zeros(2, np.float32), {}


class Raises(Point):
    def step(self, action):  # type: ignore[no-untyped-def]
        if self.t == 1:
            raise ConnectionError("simulator\nwent away")
        return super().step(action)


class Closed(Point):
    """A viewer whose window is closed."""

    chance = 1.0

    def step(self, action):  # type: ignore[no-untyped-def]
        if self.t == 1 and self.np_random.random() < self.chance:
            raise KeyboardInterrupt
        return super().step(action)


class ClosedImage(Closed, Image):
    chance = 0.5


class ClosesBadly(Point):
    def close(self) -> None:
        raise RuntimeError("the viewer is gone")


class Only(Point):
    """A simulator of which there is one in a process."""

    made = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        if next(self.made):
            raise RuntimeError("the simulator runs already")


class Crashes(Point):
    def step(self, action):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGKILL)


class DyingImage(Image):
    """Of several side by side, the second one's process dies at the end of its first episode."""

    resets = itertools.count()

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        if next(self.resets) == 1 and multiprocessing.current_process().name == "floop-env-1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset(seed=seed)


class Prints(Point):
    def step(self, action):  # type: ignore[no-untyped-def]
        print("stepping")
        return super().step(action)


class Unseeded(Point):
    def obs(self) -> Any:
        return (self.x + 0.01 * np.random.random(2)).astype(np.float32)


class Unbounded(Point):
    act = spaces.Box(-np.inf, np.inf, (2,), np.float32)


class Choices(Point):
    act = spaces.Discrete(3)


class Pair(Point):
    ob = spaces.Tuple((spaces.Discrete(2), spaces.Box(-1, 1, (2,))))


class Spaceless(Point):
    def __init__(self) -> None:
        self.action_space = self.act


class StartsProcesses(Point):
    def __init__(self) -> None:
        super().__init__()
        child = multiprocessing.get_context("spawn").Process(target=print, args=("child",))
        child.start()
        child.join()


class TellsWhenClosed(Point):
    def close(self) -> None:
        with Path(os.environ["ODD_ENVS_FILE"]).open("a") as file:
            file.write("closed\n")


class Tensors(Point):
    """As simulators in torch answer."""

    def step(self, action):  # type: ignore[no-untyped-def]
        observation, reward, *_, info = super().step(action)
        return torch.tensor(observation), torch.tensor([reward]), torch.tensor(False), torch.tensor(self.t >= 5), info


class SuccessAtTheEnd(Point):
    def step(self, action):  # type: ignore[no-untyped-def]
        observation, reward, *_ = super().step(action)
        return observation, reward, False, False, {"is_success": None if self.t < 20 else self.t / 20}


class Grows(Point):
    """Has another space each time it is made."""

    made = itertools.count(2)

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-2.0, 2.0, (next(self.made),), np.float32)

    def obs(self) -> Any:
        return np.zeros(self.observation_space.shape, np.float32)  # type: ignore[arg-type]


class Connects(Spaceless):
    @property
    def observation_space(self) -> Any:  # type: ignore[override]
        raise ConnectionError("no simulator")


class Broken(Point):
    def __init__(self) -> None:
        self.simulator.start()  # type: ignore[attr-defined]


for _kind in [kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, Point)]:
    gymnasium.register(f"{_kind.__name__}-v0", entry_point=_kind, max_episode_steps=None if _kind is Point else 20)
gymnasium.register(
    "KnowsTime-v0", Point, max_episode_steps=20, additional_wrappers=(TimeAwareObservation.wrapper_spec(),)
)
