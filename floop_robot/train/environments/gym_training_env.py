"""GymTrainingEnv: any continuous Gymnasium environment as a source of episodes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from floop_envs.rollout import RolloutStep
from floop_envs.seeds import Purpose, seed_of
from floop_robot.core import PolicyActor
from floop_robot.learn.spaces import PolicySpace
from floop_robot.replay.hindsight import relabel
from floop_robot.replay.transitions import Transitions, concatenate
from floop_robot.spec.ids import Ids, contract_id
from floop_robot.spec.task import TaskSpec
from floop_robot.train.environments.checked_env import CheckedEnv, another_env, told_rate
from floop_robot.train.environments.error_place import one_line
from floop_robot.train.environments.goals import DESIRED, Goals, lacking
from floop_robot.train.environments.plain_info import left_out
from floop_robot.train.environments.random_play import RandomPlay, play_before_training, reset_seed
from floop_robot.train.environments.value_scales import layout, layout_of
from floop_robot.train.training_episode import EnvDescription, TrainingEpisode, no_demonstrations, rows_of


class GymTrainingEnv:
    """Vectors in and out; actions in [-1, 1] are stretched to the environment's own."""

    def __init__(self, env_id: str, seed: int, sampled_goals: int = 4, numbers: tuple[int, int] = (0, 1)) -> None:
        """`sampled_goals`: other goals for each row; `numbers`: of the first training episode, and steps to the next.

        Raises `UnknownName` or `ConfigError`.
        """
        self._id, self._seed, self._numbers = env_id, seed, numbers
        self._env = CheckedEnv(env_id)
        self._goals = Goals.of(self._env, sampled_goals) if sampled_goals else None
        self._running: RunningEpisode | None = None
        self._started = 0

    @cached_property
    def _measuring(self) -> CheckedEnv:
        """Another environment for whole episodes: they must not end one that training is in the middle of."""
        return another_env(self._env)

    @cached_property
    def _play(self) -> RandomPlay:
        return play_before_training(self._env)

    @cached_property
    def description(self) -> EnvDescription:
        """What is learned here, after some steps of random play; raises `EnvironmentFailed`. Ask before `advance`."""
        _ = self._measuring  # where only one can be, that is told before anything is learned
        env, seen = self._env, self._play.observations
        reader = env.reader
        parts = [(reader.slices[key], *part) for key, part in zip(reader.parts, reader.bounds(), strict=True)]
        observation = layout(*(layout_of(n, lo, hi, seen[:, at], is_image=im) for at, n, lo, hi, im in parts))
        low, high = env.writer.space.low.reshape(-1), env.writer.space.high.reshape(-1)
        task = TaskSpec(
            id=env.spec.id if env.spec else self._id,  # however its module was named
            meaning="Gymnasium environment; actions in [-1, 1] are stretched to the layout's range",
            observation=observation,
            action=layout(layout_of("action", low, high)),
            policy_rate_hz=env.rate_hz or 1.0,
            max_steps=env.limit,
        )
        return EnvDescription(
            task=task,
            ids=Ids(contract=contract_id(task), limits="none", reward=task.id),
            reports_success=self._play.tells_success,
            space=PolicySpace(task.observation, task.action, (reader.stock_space, env.writer.space)),
            notes=self._notes(),
            needs_cnn=reader.needs_cnn,
            has_goals=self._goals is not None,
        )

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._env.registered_limit is None:
            notes.append(
                f"{self._id} is registered without max_episode_steps: an episode that does not end by itself is cut "
                f"after {self._env.limit} steps"
            )
        if self._env.rate_hz is None and (told := told_rate(self._env)) is not None:
            wrong = f"{self._id} has no steps a second for metadata['render_fps']: {one_line(repr(told), 60)}"
            notes.append(f"{wrong}; its rate is unknown, and times count 1 s for a step")
        if self._goals is not None:
            notes.append(f"{self._id} has goals: SAC learns from {self._goals.count} other goals for each step (HER)")
            if fault := self._goals.disagreement(self._play):
                notes.append(fault)
        elif DESIRED in self._env.reader.parts and (why := lacking(self._env)):
            notes.append(f"{self._id} has a {DESIRED}, but SAC can't learn from other goals (HER): {why}")
        if self._env.reader.needs_cnn:
            notes.append(
                f"{self._id} observes images: stable-baselines3's own networks learn from them; there will be a "
                "model.zip but no policy.floop, because robots run policies of vectors only"
            )
            if odd := left_out(info for _, _, info in self._play.steps):
                notes.append(f"{self._id}: {odd}")
        return tuple(notes)

    def episode(self, actor: PolicyActor, purpose: Purpose, index: int, *, sample: bool) -> TrainingEpisode:
        """One whole episode; its seed belongs to the purpose."""
        running = RunningEpisode(self._measuring, seed_of(purpose, self._seed, index), index, purpose)
        return running.go_on(actor, None, sample=sample)

    def advance(self, actor: PolicyActor, steps: int) -> list[TrainingEpisode]:
        """Go on with the training episode for `steps` steps, and with new ones as it ends; returns their parts."""
        parts: list[TrainingEpisode] = []
        while steps > 0:
            if self._running is None:
                first, apart = self._numbers
                index = first + apart * self._started
                self._started += 1
                number = seed_of(Purpose.TRAINING, self._seed, index)
                self._running = RunningEpisode(self._env, number, index, Purpose.TRAINING, self._goals)
            part = self._running.go_on(actor, steps, sample=True)
            steps -= len(part.rows)
            parts.append(part)
            if part.is_over:
                self._running = None
        return parts

    def expert(self) -> PolicyActor:
        """Raise `ConfigError`: there is no demonstrator."""
        raise no_demonstrations(self._id)


class RunningEpisode:
    """An episode in the middle of which the policy may change."""

    def __init__(self, env: CheckedEnv, number: int, index: int, purpose: Purpose, goals: Goals | None = None) -> None:
        """`number`: the seed of what is drawn; with `goals`, the end comes with rows of other goals."""
        self._env, self._index, self._goals = env, index, goals
        self._rng = np.random.default_rng((number, 1))
        observation, _ = env.reset(seed=reset_seed(number), episode=f"{purpose.name.lower()} episode {index}")
        self._obs = env.reader.flatten(observation)
        self._rows: list[Transitions] = []
        self._infos: list[dict[str, Any]] = []
        self._steps, self._return, self._success, self._tells_success = 0, 0.0, False, False

    def go_on(self, actor: PolicyActor, most: int | None, *, sample: bool) -> TrainingEpisode:
        """At most `most` further steps (None: all), as rows; the figures are those of the episode so far."""
        env, trace, is_over = self._env, list[RolloutStep](), False
        while not is_over and (most is None or len(trace) < most):
            obs = self._obs
            action, log_prob = actor.sample(obs, self._rng) if sample else (actor.mean(obs), float("nan"))
            native, executed = env.writer.write(action)
            observation, reward, terminated, truncated, info = env.step(native)
            self._obs = env.reader.flatten(observation)
            trace.append(RolloutStep(obs, action, executed, log_prob, reward, self._obs, terminated, truncated, 0))
            is_over = terminated or truncated
            self._count(reward, info, is_over=is_over)
        rows = rows_of(trace, self._index, is_over=is_over)
        return TrainingEpisode(
            rows=rows,
            success=self._success,
            duration_s=self._steps / (env.rate_hz or 1.0),
            total_reward=self._return,
            is_over=is_over,
            tells_success=self._tells_success,
            hindsight=self._hindsight(rows, is_over=is_over),
        )

    def _count(self, reward: float, info: dict[str, Any], *, is_over: bool) -> None:
        self._steps, self._return = self._steps + 1, self._return + reward
        if is_over and "is_success" in info:
            self._tells_success, self._success = True, info["is_success"]
        if self._goals is not None:
            self._infos.append(info)

    def _hindsight(self, rows: Transitions, *, is_over: bool) -> tuple[Transitions, ...]:
        if self._goals is None:
            return ()
        self._rows.append(rows)
        if not is_over:
            return ()
        goals, whole, infos = self._goals, concatenate(self._rows), self._infos
        reward_of = lambda achieved, desired: goals.rewards(achieved, desired, infos)  # noqa: E731
        return tuple(relabel(whole, goals.columns, reward_of, self._rng) for _ in range(goals.count))
