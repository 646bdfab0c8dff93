"""Training on images: stable-baselines3's own SAC and PPO with its convolutions (NatureCNN), behind the same command.

floop's update, actor and bundle are made for vectors. A robot's policy of images needs another runtime, so there is a
`model.zip` for stable-baselines3 and no `policy.floop`.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import msgspec
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from floop_envs.seeds import Purpose, seed_of
from floop_robot.bundle import write_atomic
from floop_robot.spec.hyperparameters import AlgorithmSettings, PpoSettings
from floop_robot.train.environments.checked_env import CheckedEnv
from floop_robot.train.environments.random_play import reset_seed
from floop_robot.train.environments.stdout import stdout_to_stderr
from floop_robot.train.monitor_file import MonitorFile
from floop_robot.train.run_counters import RecentEpisode
from floop_robot.train.run_folder import RunFolder
from floop_robot.train.sb3_callbacks import MaybeCallback
from floop_robot.train.score import Score
from floop_robot.train.stop_signals import StopSignals
from floop_robot.train.tensorboard_writer import TENSORBOARD_DIR
from floop_robot.train.train_progress import ProgressCallback, TrainProgress
from floop_robot.train.training_run import TrainingDiverged


class ImageTrainingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to train, and for how long."""

    env: str
    settings: AlgorithmSettings
    seed: int
    steps: int
    learning_starts: int
    n_envs: int
    tensorboard: bool
    eval_freq: int
    """Steps between two measurements that choose the best model, of `n_eval_episodes` each."""
    n_eval_episodes: int
    until_success: float
    selection_episodes: int
    """Further episodes that confirm `until_success`."""
    final_episodes: int
    n_sampled_goal: int
    """Other goals for each step (HER); 0 for none."""
    device: str


class ImageTrainingResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    final: Score
    selected: Score
    reports_success: bool
    steps: int
    gradient_steps: int


def train_on_images(
    plan: ImageTrainingPlan,
    folder: RunFolder,
    on_progress: ProgressCallback,
    callback: MaybeCallback,
    stop: StopSignals,
) -> ImageTrainingResult:
    """Train, leave the best model in the folder, and measure it as it was saved.

    Raises `EnvironmentFailed`. However it ends, the best model so far is in the folder.
    """
    with stdout_to_stderr(), MonitorFile(folder.monitor, plan.env) as monitor:
        envs = DummyVecEnv([_maker(plan.env) for _ in range(plan.n_envs)])
        model = _model(plan, envs, str(folder.path / TENSORBOARD_DIR) if plan.tensorboard else None)
        selection = _Selection(plan, folder, monitor, on_progress, stop)
        theirs = [] if callback is None else callback if isinstance(callback, list) else [callback]
        try:
            model.learn(plan.steps, callback=[selection, *map(_as_callback, theirs)], tb_log_name="images")
        except BaseException:
            if selection.best is None:
                selection.save()
            raise
        stop.raise_if_received()
        if selection.measured_at != model.num_timesteps:
            selection.measure()
        envs.close()
        assert selection.best is not None
        on_progress(selection.progress("final scenarios"))
        saved = type(model).load(folder.model, device=plan.device)
        final, tells_success = _measured(saved, plan, Purpose.REPORT, range(plan.final_episodes), stop)
    return ImageTrainingResult(
        final=final,
        selected=selection.best,
        reports_success=tells_success,
        steps=model.num_timesteps,
        gradient_steps=model._n_updates,
    )


def _as_callback(callback: BaseCallback | Callable[..., Any]) -> BaseCallback:
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)


def _maker(env_id: str) -> Callable[[], gymnasium.Env[Any, Any]]:
    return lambda: Monitor(CheckedEnv(env_id))


def _model(plan: ImageTrainingPlan, envs: DummyVecEnv, curves: str | None) -> SAC | PPO:
    settings = plan.settings
    policy = "MultiInputPolicy" if isinstance(envs.observation_space, spaces.Dict) else "CnnPolicy"
    common: dict[str, Any] = {
        "learning_rate": settings.learning_rate,
        "gamma": settings.gamma,
        "batch_size": settings.batch_size,
        "policy_kwargs": {"net_arch": list(settings.net_arch)},
        "seed": plan.seed % 2**32,
        "device": plan.device,
        "tensorboard_log": curves,
    }
    if isinstance(settings, PpoSettings):
        names = ("gae_lambda", "n_steps", "n_epochs", "clip_range", "ent_coef", "vf_coef", "target_kl")
        common["policy_kwargs"]["log_std_init"] = settings.log_std_init
        return PPO(policy, envs, **common, **{name: getattr(settings, name) for name in names})
    if plan.n_sampled_goal:
        common |= {
            "replay_buffer_class": HerReplayBuffer,
            "replay_buffer_kwargs": {"n_sampled_goal": plan.n_sampled_goal},
        }
    every = max(1, round(1.0 / settings.utd_ratio))
    return SAC(
        policy,
        envs,
        **common,
        tau=settings.tau,
        ent_coef=settings.ent_coef,
        target_entropy="auto" if settings.target_entropy is None else settings.target_entropy,
        buffer_size=min(settings.buffer_size, plan.steps),  # images are large
        learning_starts=plan.learning_starts,
        train_freq=every,
        gradient_steps=max(1, round(settings.utd_ratio * every)),
    )


class _Selection(BaseCallback):
    """Measures the model now and then, keeps the best as a file, and reports progress."""

    def __init__(
        self,
        plan: ImageTrainingPlan,
        folder: RunFolder,
        monitor: MonitorFile,
        on_progress: ProgressCallback,
        stop: StopSignals,
    ) -> None:
        super().__init__()
        self._plan, self._folder, self._monitor, self._on_progress, self._stop = (
            plan,
            folder,
            monitor,
            on_progress,
            stop,
        )
        self._started = time.monotonic()
        self._confirmed = 0
        self.best: Score | None = None
        self.measured_at = 0

    def _on_step(self) -> bool:
        self._stop.raise_if_received()
        for episode in [info["episode"] for info in self.locals["infos"] if "episode" in info]:
            self._monitor.write(RecentEpisode(success=False, total_reward=episode["r"], steps=episode["l"]))
        if self.n_calls % 50 == 0:
            self._on_progress(self.progress("learning"))
        return not (self.num_timesteps - self.measured_at >= self._plan.eval_freq and self.measure())

    def measure(self) -> bool:
        """Measure the model, keep it if it is the best, tell whether it is good enough; raises `TrainingDiverged`."""
        self.measured_at = self.model.num_timesteps
        if not self._is_finite():
            raise TrainingDiverged(f"training of {self._plan.env} diverged; lower learning_rate")
        plan = self._plan
        score, tells_success = _measured(self.model, plan, Purpose.SELECTION, range(plan.n_eval_episodes), self._stop)
        if self.best is None or score.better_than(self.best, math.inf):
            self.best = score
            self.save()
            return tells_success and score.success >= plan.until_success and self._is_confirmed()
        return False

    def _is_confirmed(self) -> bool:
        """Whether new episodes show `until_success`, too."""
        first = self._plan.n_eval_episodes + self._confirmed
        self._confirmed += self._plan.selection_episodes
        new = range(first, first + self._plan.selection_episodes)
        score, _ = _measured(self.model, self._plan, Purpose.SELECTION, new, self._stop)
        return score.success >= self._plan.until_success

    def save(self) -> None:
        """Write the model, unless its weights are not finite."""
        with self._stop.held():
            if self._is_finite():
                file = io.BytesIO()
                self.model.save(file)
                write_atomic(self._folder.model, file.getvalue())
                write_atomic(self._folder.best_model, file.getvalue())

    def _is_finite(self) -> bool:
        return all(bool(th.isfinite(p).all()) for p in self.model.policy.parameters())

    def progress(self, phase: str) -> TrainProgress:
        """Where training stands."""
        recent, successes = list(self.model.ep_info_buffer or ()), list(self.model.ep_success_buffer or ())
        return TrainProgress(
            phase=phase,
            transitions=self.model.num_timesteps,
            total_timesteps=self._plan.steps,
            gradient_steps=getattr(self.model, "_n_updates", 0),
            recent_success=float(np.mean(successes)) if successes else math.nan,
            recent_return=float(np.mean([episode["r"] for episode in recent])) if recent else math.nan,
            selection_success=self.best.success if self.best and successes else math.nan,
            elapsed_s=time.monotonic() - self._started,
        )


def _measured(
    model: Any, plan: ImageTrainingPlan, purpose: Purpose, indices: range, stop: StopSignals
) -> tuple[Score, bool]:
    """The score of the model's mean actions on fresh episodes, and whether these tell success."""
    env = CheckedEnv(plan.env)
    returns, steps_of_successes, tells_success = [], [], False
    for index in indices:
        stop.raise_if_received()
        number = reset_seed(seed_of(purpose, plan.seed, index))
        observation, _ = env.reset(seed=number, episode=f"{purpose.name.lower()} episode {index}")
        total, steps, is_over, info = 0.0, 0, False, dict[str, Any]()
        while not is_over:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, info = env.step(action)
            total, steps, is_over = total + reward, steps + 1, terminated or truncated
        returns.append(total)
        tells_success |= "is_success" in info
        if info.get("is_success", False):
            steps_of_successes.append(steps / (env.rate_hz or 1.0))
    env.close()
    time_s = float(np.mean(steps_of_successes)) if steps_of_successes else None
    return Score(len(steps_of_successes) / len(indices), time_s, float(np.mean(returns))), tells_success
