"""Random play: some steps of random actions before a training, to see what is observed and reported."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from floop_envs.seeds import Purpose, seed_of
from floop_robot.spec.layout import Vector
from floop_robot.train.environments.checked_env import CheckedEnv

STEPS = 100
"""Steps of random play. Nothing is learned from them."""


def reset_seed(number: int) -> int:
    """The seed that an environment is reset with: 32 bits, which every random generator takes."""
    return int(np.random.SeedSequence(number).generate_state(1)[0])


class RandomPlay(msgspec.Struct, frozen=True):
    """What was seen."""

    observations: Vector
    """Shape (steps + episodes, size)."""
    tells_success: bool
    steps: list[tuple[Vector, float, dict[str, Any]]]
    """What each step returned: observation, reward and info."""


def play_before_training(env: CheckedEnv) -> RandomPlay:
    """The play that a training begins with, of one seed for all runs: what it finds is part of the contract."""
    return play_at_random(env, seed_of(Purpose.DEMONSTRATION, 0, 0))


def play_at_random(env: CheckedEnv, seed: int, steps: int = STEPS) -> RandomPlay:
    """Play with uniform actions; raises `EnvironmentFailed` when the environment is not as it declares."""
    rng = np.random.default_rng((seed, 2))
    observations, played = list[Vector](), list[tuple[Vector, float, dict[str, Any]]]()
    tells_success, episode, is_over = False, 0, True
    for _ in range(steps):
        if is_over:
            observation, _ = env.reset(seed=reset_seed(seed + episode), episode=f"random episode {episode}")
            observations.append(env.reader.flatten(observation))
            episode += 1
        action, _ = env.writer.write(rng.uniform(-1.0, 1.0, env.writer.size).astype(np.float32))
        observation, reward, terminated, truncated, info = env.step(action)
        observations.append(env.reader.flatten(observation))
        played.append((observations[-1], reward, info))
        tells_success, is_over = tells_success or info.get("is_success") is not None, terminated or truncated
    return RandomPlay(np.stack(observations), tells_success, played)
