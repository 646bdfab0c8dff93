"""`floop check env`: what an environment declares, what it does in some hundred steps, and what floop makes of it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env as gymnasium_check
from numpy.typing import NDArray

from floop_robot.spec.errors import EnvironmentFailed
from floop_robot.spec.layout import Vector
from floop_robot.train.collector_process import CollectorProcess
from floop_robot.train.environments.checked_env import CheckedEnv, another_env, close_env
from floop_robot.train.environments.error_place import error_line, one_line
from floop_robot.train.environments.goals import Goals, lacking
from floop_robot.train.environments.loader import load_env
from floop_robot.train.environments.plain_info import left_out
from floop_robot.train.environments.random_play import RandomPlay, play_before_training

STEPS = 300
SEED = 7
Episode = tuple[list[Vector], list[float], bool]
"""Observations, rewards, whether success is told."""


def check_env(env_id: str) -> tuple[str, ...]:
    """A line for each property; raises the `FloopError` that would keep `floop train --env` from training.

    The environment runs in a process of its own, so that it may print and crash.
    """
    process = CollectorProcess(_checker, (), "floop-check-env", env_id)
    try:
        process.send(env_id)
        lines: tuple[str, ...] = process.receive()
        return lines
    finally:
        process.hang_up()
        process.join()


def _checker() -> object:
    return lambda env_id: tuple(f"{name:<13}{value}" for name, value in properties(env_id))


def properties(env_id: str) -> Iterator[tuple[str, str]]:
    """Name and value of each property; raises `FloopError` for what can't be trained."""
    env = CheckedEnv(env_id)
    yield "observation", _of_spaces(env)
    yield "action", f"{env.writer.space}, {env.writer.size} numbers"
    rng = np.random.default_rng(SEED)
    actions = rng.uniform(-1.0, 1.0, (STEPS, env.writer.size)).astype(np.float32)
    began = time.perf_counter()
    first, steps = _episode(env, actions), 0
    tells_success = first[2]
    while steps + len(first[1]) < STEPS:  # short episodes: several of them
        played = _episode(env, actions[steps:], SEED + 1 + steps)
        steps, tells_success = steps + len(played[1]), tells_success or played[2]
    per_s = (steps + len(first[1])) / (time.perf_counter() - began)
    yield (
        "success",
        "told by info['is_success']" if tells_success else "not told (no info['is_success']): only reward counts",
    )
    play = play_before_training(env)
    yield "goals", _of_goals(env, play)
    if env.reader.needs_cnn and (odd := left_out(info for _, _, info in play.steps)):
        yield "info", odd
    yield "time limit", _of_limit(env)
    rate = "unknown (no number above 0 in metadata['render_fps'])"
    yield "rate", f"{env.rate_hz:g} steps a second" if env.rate_hz else rate
    yield "determinism", _of_determinism(first, _episode(env, actions))
    yield "values", _of_values(env, actions)
    yield "speed", f"{per_s:,.0f} steps a second"
    yield "gymnasium", _of_gymnasium(env_id)
    way = "stable-baselines3's networks for images" if env.reader.needs_cnn else "floop's own SAC and PPO"
    yield "trained by", f"{way}: floop train --env {env_id}"


def _episode(env: CheckedEnv, actions: Vector, seed: int = SEED) -> Episode:
    observation, _ = env.reset(seed=seed)
    observations, rewards, tells_success = [env.reader.flatten(observation)], list[float](), False
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(env.writer.write(action)[0])
        observations.append(env.reader.flatten(observation))
        rewards.append(reward)
        tells_success |= info.get("is_success") is not None
        if terminated or truncated:
            break
    return observations, rewards, tells_success


def _of_spaces(env: CheckedEnv) -> str:
    parts = ", ".join(f"{key}: {space}" if key else str(space) for key, space in env.reader.parts.items())
    return f"{one_line(parts, 200)}, {env.reader.size} numbers"


def _of_goals(env: CheckedEnv, play: RandomPlay) -> str:
    goals = Goals.of(env, 4)
    if goals is None:
        return f"none ({lacking(env)})"
    fault = goals.disagreement(play)
    return f"SAC learns from other goals, too (HER); {fault or 'compute_reward and step agree'}"


def _of_limit(env: CheckedEnv) -> str:
    if env.registered_limit is not None:
        return f"{env.registered_limit} steps"
    return f"none registered: episodes that go on are cut after {env.limit} steps; register it with max_episode_steps"


def _of_determinism(first: Episode, again: Episode) -> str:
    for step, (one, other) in enumerate(zip(first[0], again[0], strict=False)):
        if not np.array_equal(one, other):
            at = int(np.flatnonzero(one != other)[0])
            what = "reset" if step == 0 else f"step {step}"
            return f"observation value {at} differs at {what} for the same seed and actions; draw from self.np_random"
    if first[1] != again[1]:
        return "rewards differ for the same seed and actions; draw from self.np_random"
    return "the same seed and actions give the same episode"


def _of_values(first: CheckedEnv, actions: Vector) -> str:
    """What `CheckedEnv` forgives: other dtypes, and values outside the declared bounds."""
    checked = another_env(first)
    env, writer = checked.env, checked.writer
    raw, _ = env.reset(seed=SEED)
    found: list[str] = []
    for action in actions[: checked.limit]:
        found += [note for note in _unlike(env.observation_space, raw, "observation") if note not in found]
        raw, _, terminated, truncated, _ = env.step(writer.write(action)[0])
        if terminated or truncated:
            break
    checked.close()
    return "; ".join(found[:3]) or "finite, in the declared bounds and dtype"


def _unlike(space: gymnasium.Space[object], value: object, name: str) -> Iterator[str]:
    if isinstance(space, gymnasium.spaces.Dict) and isinstance(value, dict):
        for key, part in space.spaces.items():
            yield from _unlike(part, value.get(key), f"{name}[{key!r}]")
    elif isinstance(space, gymnasium.spaces.Box):
        array: NDArray[np.float64] = np.asarray(value)
        if array.dtype != space.dtype:
            yield f"{name} is {array.dtype}, declared as {space.dtype}: converted"
        if (array < space.low).any() or (array > space.high).any():
            yield f"{name} leaves its declared bounds: declare wider ones"


def _of_gymnasium(env_id: str) -> str:
    env = load_env(env_id)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            gymnasium_check(env.unwrapped, skip_render_check=True)
        except EnvironmentFailed:
            raise
        except Exception as error:
            return f"its checker objects: {error_line(error)}"
        finally:
            close_env(env, env_id)
    said = [one_line(str(w.message).replace("\x1b[33mWARN: ", "").replace("\x1b[0m", ""), 160) for w in heard]
    return f"its checker passes{', and remarks: ' + said[0] if said else ''}"
