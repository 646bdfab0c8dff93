"""Training environments: where the episodes of `floop train` run: in a floop task or any continuous Gymnasium one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import gymnasium
import msgspec
import numpy as np

from floop_envs.domain_randomization import DomainRandomization
from floop_envs.env import make_env
from floop_envs.expert import Expert
from floop_envs.rollout import RolloutStep, run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_robot.core import PolicyActor, ScenarioSource
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.ids import Ids, contract_id, ids_of
from floop_robot.spec.layout import Field, Layout, Vector
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks import get_task

ROBOT = "panda"
"""The arm that policies are trained on."""


class TrainingEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode, as rows and figures."""

    rows: Transitions
    success: bool
    duration_s: float
    """Simulated time; steps where an environment has no rate."""
    total_reward: float


class TrainingEnv(Protocol):
    """Makes episodes."""

    @property
    def task(self) -> TaskSpec:
        """Observation, action and rate."""
        ...

    @property
    def ids(self) -> Ids:
        """What policies made here are made for."""
        ...

    @property
    def reports_success(self) -> bool:
        """Whether episodes here can succeed or fail; otherwise only their reward counts."""
        ...

    def episode(self, actor: PolicyActor, purpose: Purpose, index: int, *, sample: bool) -> TrainingEpisode:
        """Episode number `index` of a purpose: the same start for the same numbers."""
        ...

    def expert(self) -> PolicyActor:
        """The demonstrator; raises `ConfigError` where there is none."""
        ...


class TrainingEnvSpec(msgspec.Struct, frozen=True):
    """Which environment to make, for handing to another process."""

    task: str
    env: str = ""
    """A Gymnasium id; takes the place of `task`."""
    seed: int = 0
    randomize: bool = False
    """Whether friction, mass, delay and calibration vary in the training episodes of a floop task."""

    def make(self) -> TrainingEnv:
        """The environment; raises `UnknownName` or `ConfigError`."""
        return (
            GymTrainingEnv(self.env, self.seed)
            if self.env
            else ArmTrainingEnv(self.task, self.seed, randomize=self.randomize)
        )

    def describe(self) -> tuple[TaskSpec, Ids, bool]:
        """Task, ids and whether success is reported, without starting a physics engine for a floop task."""
        if not self.env:
            rules = get_task(self.task)
            return rules.spec, ids_of(rules, load_robot(ROBOT)), True
        env = GymTrainingEnv(self.env, self.seed)
        return env.task, env.ids, env.reports_success


class ArmTrainingEnv:
    """A floop task in PyBullet on its training tasks; `randomize` varies what can't be perceived while training."""

    reports_success = True

    def __init__(self, task: str, seed: int, *, randomize: bool = False) -> None:
        self._env = make_env(task, ROBOT)
        self.task = self._env.rules.spec
        self.ids = ids_of(self._env.rules, self._env.robot)
        self._seed = seed
        self._scenarios: ScenarioSource = TrainingScenarios(task)
        self._training_scenarios = DomainRandomization(self._scenarios) if randomize else self._scenarios

    def episode(self, actor: PolicyActor, purpose: Purpose, index: int, *, sample: bool) -> TrainingEpisode:
        """One scenario of the purpose; what is drawn while acting is seeded by it as well."""
        number = seed_of(purpose, self._seed, index)
        rng = np.random.default_rng((number, 1))
        source = self._training_scenarios if purpose is Purpose.TRAINING else self._scenarios
        done = run_episode(self._env, actor, scenario_of(source, number), rng, sample=sample, record_trace=True)
        return TrainingEpisode(
            rows=rows_of(done.trace, index),
            success=done.success,
            duration_s=done.duration_s,
            total_reward=done.total_reward,
        )

    def expert(self) -> PolicyActor:
        """The scripted expert."""
        return Expert(self.task)


class GymTrainingEnv:
    """Any Gymnasium environment with vectors in and out; actions in [-1, 1] are stretched to its own."""

    def __init__(self, env_id: str, seed: int) -> None:
        try:
            self._env: gymnasium.Env[Any, Any] = gymnasium.make(env_id)
        except (gymnasium.error.UnregisteredEnv, ModuleNotFoundError):
            raise UnknownName("Gymnasium environment", env_id, gymnasium.registry) from None
        except gymnasium.error.Error as error:
            raise ConfigError(f"{env_id} can't be made: {' '.join(str(error).split())}") from None
        observation, action = self._env.observation_space, self._env.action_space
        if not _is_vector(observation) or not _is_vector(action):
            raise ConfigError(
                f"{env_id} observes {_kind(observation)} and acts by {_kind(action)}; floop train needs vectors of "
                "continuous numbers (Box) for both"
            )
        self._low, self._high = cast(Any, action).low, cast(Any, action).high
        if not np.isfinite([self._low, self._high]).all():
            raise ConfigError(f"{env_id} has unbounded actions; wrap it in a bounded action space")
        rate = float(self._env.metadata.get("render_fps") or 1)
        limit = self._env.spec.max_episode_steps if self._env.spec else None
        self.task = TaskSpec(
            id=env_id,
            meaning="Gymnasium environment; actions in [-1, 1] are stretched to the layout's range",
            observation=_layout("observation", observation),
            action=_layout("action", action),
            policy_rate_hz=rate,
            max_steps=limit or 10_000,
        )
        self.ids = Ids(contract=contract_id(self.task), limits="none", reward=env_id)
        self.reports_success = False
        self._seed = seed

    def episode(self, actor: PolicyActor, purpose: Purpose, index: int, *, sample: bool) -> TrainingEpisode:
        """One episode; its seed belongs to the purpose."""
        number = seed_of(purpose, self._seed, index)
        rng = np.random.default_rng((number, 1))
        obs, _ = self._env.reset(seed=number % 2**31)
        obs = np.asarray(obs, np.float32)
        trace: list[RolloutStep] = []
        success = over = False
        while not over:
            action, log_prob = actor.sample(obs, rng) if sample else (actor.mean(obs), float("nan"))
            clipped = np.clip(action, -1.0, 1.0)
            stretched = self._low + (clipped + 1.0) * 0.5 * (self._high - self._low)
            after, reward, terminated, truncated, info = self._env.step(stretched.astype(np.float32))
            after = np.asarray(after, np.float32)
            trace.append(RolloutStep(obs, action, clipped, log_prob, float(reward), after, terminated, truncated, 0))
            if "is_success" in info:
                self.reports_success, success = True, bool(info["is_success"])
            obs = after
            over = terminated or truncated or len(trace) >= self.task.max_steps
        return TrainingEpisode(
            rows=rows_of(trace, index),
            success=success,
            duration_s=len(trace) * self.task.period_s,
            total_reward=sum(step.reward for step in trace),
        )

    def expert(self) -> PolicyActor:
        """Raise `ConfigError`: there is no demonstrator."""
        raise no_demonstrations(self.task.id)


def no_demonstrations(environment: str) -> ConfigError:
    """The error for demonstrations of an environment that is not floop's."""
    return ConfigError(f"there are no demonstrations of {environment}; leave out --demonstrations")


def rows_of(trace: Sequence[RolloutStep], episode: int) -> Transitions:
    """An episode as rows of a new task."""

    def vectors(name: str) -> Vector:
        return np.array([getattr(step, name) for step in trace], np.float32)

    n = len(trace)
    episode_end = np.zeros(n, np.bool_)
    episode_end[-1] = True
    return Transitions(
        obs=vectors("obs"),
        action=vectors("action"),
        action_requested=vectors("action_requested"),
        next_obs=vectors("next_obs"),
        reward=vectors("reward"),
        terminated=np.array([step.terminated for step in trace], np.bool_),
        episode_end=episode_end,
        log_prob=vectors("log_prob"),
        policy_version=np.zeros(n, np.int64),
        episode=np.full(n, episode, np.int64),
        stamp_ns=np.zeros(n, np.int64),
        is_new=np.ones(n, np.bool_),
    )


def _kind(space: gymnasium.Space[Any]) -> str:
    return f"{type(space).__name__} of shape {space.shape}" if isinstance(space, gymnasium.spaces.Box) else str(space)


def _is_vector(space: gymnasium.Space[Any]) -> bool:
    return isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1


def _layout(name: str, space: gymnasium.Space[Any]) -> Layout:
    assert isinstance(space, gymnasium.spaces.Box)
    fields = []
    for i, (low, high) in enumerate(zip(space.low.tolist(), space.high.tolist(), strict=True)):
        bounded = np.isfinite([low, high]).all() and high - low < 1e6
        offset, scale = ((low + high) / 2.0, (high - low) / 2.0) if bounded else (0.0, 1.0)
        low, high = (low, high) if bounded else (-1e6, 1e6)
        fields.append(Field(name=f"{name}_{i}", size=1, unit="1", low=low, high=high, offset=offset, scale=scale))
    return Layout(fields=tuple(fields))
