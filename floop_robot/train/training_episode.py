"""What training environments hand on: their description, and episodes as rows and figures."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from floop_envs.rollout import RolloutStep
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ids import Ids
from floop_robot.spec.layout import Layout, Vector
from floop_robot.spec.task import TaskSpec


class EnvDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What is learned in an environment, and what floop makes of it."""

    task: TaskSpec
    ids: Ids
    reports_success: bool
    """Whether episodes can succeed or fail, as far as known yet; otherwise only their reward counts."""
    space: PolicySpace
    notes: tuple[str, ...] = ()
    """What a user should know before the training, a line each."""
    needs_cnn: bool = False
    """Whether it observes images that only stable-baselines3's own networks learn from."""
    has_goals: bool = False
    """Whether SAC learns from other goals, too (HER)."""

    def scaled_as(self, task: TaskSpec, ids: Ids) -> EnvDescription:
        """Itself with the scales of `task`, where nothing else differs. Random play may show others each time."""
        if _bare(task) != _bare(self.task) or (ids.limits, ids.reward) != (self.ids.limits, self.ids.reward):
            return self
        space = msgspec.structs.replace(self.space, observation=task.observation)
        return msgspec.structs.replace(self, task=task, ids=ids, space=space)


def _bare(task: TaskSpec) -> tuple[TaskSpec, list[float], list[float]]:
    """A task without scales, and the bounds of its values. Scales decide where fields of the layout begin."""
    observation = task.observation
    bare = msgspec.structs.replace(task, observation=Layout(fields=()))
    return bare, observation.low.tolist(), observation.high.tolist()


class TrainingEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode, or its latest rows, with the figures of the episode so far."""

    rows: Transitions
    success: bool
    duration_s: float
    """Simulated time; steps where an environment has no rate."""
    total_reward: float
    is_over: bool = True
    """Whether the episode ended with these rows."""
    tells_success: bool = True
    """Whether the environment says if an episode succeeds."""
    hindsight: tuple[Transitions, ...] = ()
    """With the last rows of an episode that has goals: all its rows, with other goals."""


def no_demonstrations(environment: str) -> ConfigError:
    """The error for demonstrations of an environment that is not floop's."""
    return ConfigError(f"there are no demonstrations of {environment}; leave out --demonstrations")


def rows_of(trace: Sequence[RolloutStep], episode: int, *, is_over: bool = True) -> Transitions:
    """Steps of an episode, at least one, as rows of a new task."""

    def vectors(name: str) -> Vector:
        return np.array([getattr(step, name) for step in trace], np.float32)

    n = len(trace)
    episode_end = np.zeros(n, np.bool_)
    episode_end[-1] = is_over
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
