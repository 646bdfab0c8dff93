"""CheckedEnv: an environment whose every answer is compared with what it declares, and whose errors are one line."""

from __future__ import annotations

import logging
import math
import numbers
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import gymnasium
import numpy as np

from floop_robot.spec.errors import ConfigError, EnvironmentFailed
from floop_robot.train.environments.action_writer import ActionWriter
from floop_robot.train.environments.error_place import EnvironmentInterrupted, error_line, one_line
from floop_robot.train.environments.loader import load_env, time_limit
from floop_robot.train.environments.observation_reader import LARGEST, Observation, ObservationFault, ObservationReader

log = logging.getLogger(__name__)

DEFAULT_TIME_LIMIT = 1000
"""Steps after which an episode is cut where the environment is registered without a limit."""
Step = tuple[Observation, float, bool, bool, dict[str, Any]]
T = TypeVar("T")


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The environment with its time limit. Each error names it, the episode, the step and the field."""

    def __init__(self, env_id: str) -> None:
        """Raises `UnknownName` or `ConfigError`."""
        super().__init__(load_env(env_id))
        # A process that ends closes its environments: behind them may be a simulator that would run on.
        self._closing = weakref.finalize(self, close_env, self.env, env_id)
        self.env_id = env_id
        self.reader = ObservationReader(_space(self.env, "observation_space", env_id), env_id)
        self.writer = ActionWriter(_space(self.env, "action_space", env_id), env_id)
        self.registered_limit = time_limit(self.env)
        self.limit = self.registered_limit or DEFAULT_TIME_LIMIT
        self.rate_hz = rate_hz(self.env)
        """Steps in a second; None where the environment does not tell."""
        self.episode = "episode -1"
        """How messages call the current episode; `reset` counts, unless somebody sets it."""
        self._resets = self._steps = 0
        self._seed: int | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None, episode: str = ""
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode, which messages call `episode`; raises `EnvironmentFailed`."""
        self.episode = episode or f"episode {self._resets}"
        self._resets, self._steps, self._seed = self._resets + 1, 0, seed
        answer = self._call(lambda: self.env.reset(seed=seed, options=options))
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise self._fault("reset() returned no pair", "return observation, info")
        return self._read(answer[0]), self._info(answer[1])

    def step(self, action: Any) -> Step:
        """Act, in the environment's own units; raises `EnvironmentFailed`."""
        self._steps += 1
        answer: Any = self._call(lambda: self.env.step(self.writer.fit(action)))
        if not isinstance(answer, tuple) or len(answer) != 5:
            count = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
            raise self._fault(
                f"step() returned {count} instead of 5", "return observation, reward, terminated, truncated, info"
            )
        observation, reward, terminated, truncated, info = answer
        is_over = self._flag("terminated", terminated), self._flag("truncated", truncated)
        out = self._read(observation), self._reward(reward)
        told = self._info(info)
        is_cut = is_over[1] or self._steps >= self.limit
        if is_over[0] or is_cut:
            told = self._with_success(told)
        return *out, is_over[0], is_cut, told

    def close(self) -> None:
        """Close the environment, once; the end of the process does it, too."""
        self._closing()

    def _call(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except (Exception, SystemExit) as error:
            raise self._fault(f"raised {error_line(error)}", _cure(error)) from None
        except KeyboardInterrupt as error:  # or it is the user's: whoever handles the signal knows
            raise EnvironmentInterrupted(str(self._fault(f"raised {error_line(error)}", ""))) from None

    def _read(self, observation: object) -> Observation:
        try:
            return self.reader.read(observation)
        except ObservationFault as fault:
            raise self._fault(f"returned a wrong observation: {fault}", "") from None

    def _reward(self, reward: object) -> float:
        value = number_of(reward)
        if value is None:
            raise self._fault(f"returned a wrong reward: {one_line(repr(reward), 60)}", "return one number")
        if not abs(value) <= LARGEST:
            raise self._fault(f"returned a wrong reward: {value}", "")
        return value

    def _flag(self, name: str, value: object) -> bool:
        number = number_of(value)
        if number not in (0.0, 1.0):
            raise self._fault(f"returned a wrong {name}: {one_line(repr(value), 60)}", "return one True or False")
        return bool(number)

    def _with_success(self, info: dict[str, Any]) -> dict[str, Any]:
        """As in stable-baselines3, success is what the last step tells; None tells nothing."""
        if (told := info.get("is_success")) is not None:
            return {**info, "is_success": self._flag("info['is_success']", told)}
        return {key: value for key, value in info.items() if key != "is_success"}

    def _info(self, info: object) -> dict[str, Any]:
        if not isinstance(info, dict):
            raise self._fault(f"returned a wrong info: {one_line(repr(info), 60)}", "return a dict")
        return info

    def _fault(self, what: str, cure: str) -> EnvironmentFailed:
        where = f"at step {self._steps}" if self._steps else "at reset"
        seed = f", reset seed {self._seed}" if self._seed is not None else ""
        return EnvironmentFailed(
            f"{self.env_id} {what}, {where} of {self.episode}{seed}; {cure or 'mend the environment'}"
        )


def close_env(env: gymnasium.Env[Any, Any], env_id: str) -> None:
    """Close an environment. What it raises is told, and changes nothing: its episodes are over."""
    try:
        env.close()
    except (Exception, SystemExit) as error:
        log.warning("%s: close() raised %s", env_id, error_line(error))


def another_env(first: CheckedEnv) -> CheckedEnv:
    """One beside the one that there is; raises `ConfigError`, which says that there are two."""
    why = "floop makes two at once in each process, one of them for measurements"
    try:
        other = CheckedEnv(first.env_id)
    except ConfigError as error:
        raise ConfigError(f"{error}; {why}") from None
    for one, another, is_same in (
        (first.reader.space, other.reader.space, first.reader.size == other.reader.size),  # their bounds do not matter
        (first.writer.space, other.writer.space, first.writer.space == other.writer.space),
    ):
        if not is_same:
            found = f"{one_line(one, 100)}, then {one_line(another, 100)}"
            raise ConfigError(
                f"{first.env_id} has another space each time it is made: {found}; {why}; keep it the same"
            )
    return other


def number_of(value: object) -> float | None:
    """The number in anything that holds just one: of Python, numpy or torch, in an array or not; else None."""
    if isinstance(value, numbers.Real):
        return float(value)
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged; a tensor that has gradients or lives on a GPU
        return None
    return float(array.item()) if array.size == 1 and array.dtype.kind in "biuf" else None


def told_rate(env: gymnasium.Env[Any, Any]) -> object:
    """`metadata["render_fps"]` as it stands there, None without one."""
    metadata = getattr(env, "metadata", None)
    return metadata.get("render_fps") if isinstance(metadata, dict) else None


def rate_hz(env: gymnasium.Env[Any, Any]) -> float | None:
    """`metadata["render_fps"]`; None for what is no positive number."""
    rate = told_rate(env)
    if isinstance(rate, bool) or not isinstance(rate, numbers.Real):
        return None
    return float(rate) if 0.0 < float(rate) < math.inf else None


def _space(env: gymnasium.Env[Any, Any], name: str, env_id: str) -> gymnasium.Space[Any]:
    try:
        space = getattr(env, name, None)
    except Exception as error:
        raise ConfigError(f"{env_id}: its {name} raised {error_line(error)}; set it in its constructor") from None
    if not isinstance(space, gymnasium.Space):
        raise ConfigError(f"{env_id} has no {name} of gymnasium.spaces ({space!r}); set it in its constructor")
    return space


def _cure(error: BaseException) -> str:
    if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
        return "define reset(self, *, seed=None, options=None)"
    return ""
