"""Training environments: where the episodes of `floop train` run: in a floop task or any continuous Gymnasium one."""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np

from floop_envs.domain_randomization import DomainRandomization
from floop_envs.env import make_env
from floop_envs.expert import Expert
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_robot.core import PolicyActor, ScenarioSource
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.train.environments.gym_training_env import GymTrainingEnv
from floop_robot.train.training_episode import EnvDescription, TrainingEpisode, rows_of

ROBOT = "panda"
"""The arm that policies are trained on unless another is asked for."""


class TrainingEnv(Protocol):
    """Makes episodes."""

    @property
    def description(self) -> EnvDescription:
        """Task, spaces, and what a user should know."""
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
    robot: str = ROBOT
    """The arm of a floop task."""
    n_sampled_goal: int = 4
    """Other goals for each row of an environment with goals (HER)."""
    first_episode: int = 0
    """Number of the first training episode of `env`: a training that goes on makes those that were not made yet."""

    def make(self) -> TrainingEnv:
        """The environment; raises `UnknownName` or `ConfigError`."""
        if self.env:
            return self.make_gym()
        return ArmTrainingEnv(self.task, self.seed, self.robot, randomize=self.randomize)

    def make_gym(self, worker: int = 0, workers: int = 1) -> GymTrainingEnv:
        """The Gymnasium environment of one of `workers` processes, which share the training episodes."""
        return GymTrainingEnv(self.env, self.seed, self.n_sampled_goal, (self.first_episode + worker, workers))


class ArmTrainingEnv:
    """A floop task in PyBullet on its training tasks; `randomize` varies what can't be perceived while training."""

    def __init__(self, task: str, seed: int, robot: str = ROBOT, *, randomize: bool = False) -> None:
        self._env = make_env(task, robot)
        self.description = arm_description(task, robot)
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
        return Expert(self.description.task)


def arm_description(task: str, robot: str) -> EnvDescription:
    """The description of a floop task on an arm, without a physics engine; raises `UnknownName`."""
    rules = get_task(task)
    spec, ids = rules.spec, ids_of(rules, load_robot(robot))
    return EnvDescription(task=spec, ids=ids, reports_success=True, space=PolicySpace.of(spec))
