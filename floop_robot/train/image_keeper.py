"""ImageKeeper: what a training on images does beside learning: it measures, keeps, reports, and ends on a signal."""

from __future__ import annotations

import math
import time
from typing import Any

import msgspec
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from floop_envs.seeds import Purpose
from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import FloopError
from floop_robot.train.image_evaluator import ImageEvaluator
from floop_robot.train.image_model import is_finite, model_bytes, save_replay
from floop_robot.train.monitor_file import MonitorFile
from floop_robot.train.run_counters import RecentEpisode
from floop_robot.train.run_folder import RunFolder
from floop_robot.train.score import Score
from floop_robot.train.stop_signals import StopSignals
from floop_robot.train.train_progress import ProgressCallback, TrainProgress
from floop_robot.train.training_run import TrainingDiverged
from floop_robot.train.training_state import TrainingState, save_state

MODEL = "model"
"""Name of the model's zip among the arrays of a state."""
LEARNING_SHARE = 20
"""A state with its images may have gigabytes: writing takes at most a twentieth of the time."""


class ImageKeeper(BaseCallback):
    """Keeps the best model, and in `state` where the training stood before its latest rollout."""

    model: Any

    def __init__(
        self,
        state: TrainingState,
        folder: RunFolder,
        evaluator: ImageEvaluator,
        monitor: MonitorFile,
        stop: StopSignals,
        on_progress: ProgressCallback,
    ) -> None:
        super().__init__()
        self.state, self._config, self._folder = state, state.config, folder
        self._evaluator, self._monitor, self._stop, self._on_progress = evaluator, monitor, stop, on_progress
        self.counters = msgspec.structs.replace(state.counters, is_stopped=False)
        self._selector = state.selector
        self._started, self._started_at = time.monotonic(), state.counters.transitions
        self._written_s, self._pause_s = self._started, self._config.checkpoint_interval_s

    @property
    def best(self) -> Score | None:
        """That of the model that is kept."""
        return self._selector.best

    @property
    def elapsed_s(self) -> float:
        """Wall time, with that of the parts of the run before this one."""
        return self.state.counters.elapsed_s + time.monotonic() - self._started

    def _on_rollout_start(self) -> None:
        self.note()
        if time.monotonic() - self._written_s >= self._pause_s:
            self.write_state()

    def _on_step(self) -> bool:
        self._stop.raise_if_received()
        for episode in [info["episode"] for info in self.locals["infos"] if "episode" in info]:
            self._monitor.write(RecentEpisode(success=False, total_reward=episode["r"], steps=episode["l"]))
            self.counters.episodes += 1
        if self.num_timesteps % 50 < self.model.n_envs:
            self.report_progress("learning")
        if self.num_timesteps - self.counters.evaluated_at >= self._config.evaluation_period:
            self.counters.is_done = self.measure()
        # The end of a rollout ends the training by itself, after an update.
        is_over = self.num_timesteps >= self._config.total_timesteps
        return not self.counters.is_done and not (is_over and self._is_within_rollout())

    def _is_within_rollout(self) -> bool:
        model = self.model
        steps = model.n_steps if isinstance(model, PPO) else model.train_freq.frequency
        return bool(self.num_timesteps - self.counters.transitions < steps * model.n_envs)

    def measure(self) -> bool:
        """Measure the model, keep it if it is the best, tell whether it is good enough; raises `TrainingDiverged`."""
        self.counters.evaluated_at = self.model.num_timesteps
        if not is_finite(self.model):
            raise TrainingDiverged(f"training of {self._config.env} diverged; lower {self._config.algo}.learning_rate")
        self.report_progress("evaluating")
        config, is_confirmed = self._config, False
        score = self._evaluator.measure(self.model, Purpose.SELECTION, range(config.n_eval_episodes))
        self.counters.reports_success |= self._evaluator.tells_success
        if self.counters.reports_success and score.success >= config.until_success:
            # As in `PolicySelector`: the score may be luck, so that of new episodes counts in its place.
            score = self._evaluator.measure(self.model, Purpose.SELECTION, self._new_episodes())
            is_confirmed = score.success >= config.until_success
        if is_confirmed or self.best is None or score.better_than(self.best, math.inf):
            self._selector = msgspec.structs.replace(self._selector, best=score)
            self.write_model()
        return is_confirmed

    def _new_episodes(self) -> range:
        first = self._config.n_eval_episodes + self._selector.scenarios_used
        new = range(first, first + self._config.selection_episodes)
        used = self._selector.scenarios_used + len(new)
        self._selector = msgspec.structs.replace(self._selector, scenarios_used=used)
        return new

    def write_model(self) -> None:
        """Write the model as the best; raises `StorageError`."""
        with self._stop.held():
            zipped = model_bytes(self.model)
            write_atomic(self._folder.model, zipped)
            write_atomic(self._folder.best_model, zipped)
            self._folder.result.unlink(missing_ok=True)  # figures of the model before

    def note(self) -> None:
        """Note where the training stands, between two rollouts."""
        model = self.model
        self.counters.transitions = model.num_timesteps
        self.state = msgspec.structs.replace(
            self.state,
            counters=msgspec.structs.replace(self.counters, elapsed_s=self.state.counters.elapsed_s),
            gradient_steps=model._n_updates,
            selector=self._selector,
        )

    def write_state(self) -> None:
        """Write what `--resume` goes on from, if it is finite; raises `StorageError`."""
        if not is_finite(self.model):
            return
        began = time.monotonic()
        with self._stop.held():
            counters = msgspec.structs.replace(self.state.counters, elapsed_s=self.elapsed_s)
            save_replay(self.model, self._folder.rows)
            zipped = np.frombuffer(model_bytes(self.model), np.uint8)
            save_state(self._folder.state, msgspec.structs.replace(self.state, counters=counters), {MODEL: zipped})
        self._written_s = time.monotonic()
        self._pause_s = max(self._config.checkpoint_interval_s, LEARNING_SHARE * (self._written_s - began))

    def keep(self) -> str:
        """Write what can be gone on with; returns what was kept, in words. A second signal waits."""
        failed = ""
        try:
            with self._stop.held():
                if self.best is None and is_finite(self.model):
                    self.write_model()
                self.write_state()
        except FloopError as error:
            failed = f" ({error})"
        kept = (
            f"the best model so far is in {self._folder.model}" if self._folder.model.exists() else "nothing was kept"
        )
        if self._folder.state.exists():
            kept += f"; go on with floop train --resume {self._folder.path}"
        return kept + failed

    def report_progress(self, phase: str) -> None:
        """Show where training stands."""
        model, here_s = self.model, time.monotonic() - self._started
        recent, successes = list(model.ep_info_buffer or ()), list(model.ep_success_buffer or ())
        progress = TrainProgress(
            phase=phase,
            transitions=model.num_timesteps,
            total_timesteps=self._config.total_timesteps,
            gradient_steps=model._n_updates,
            recent_success=float(np.mean(successes)) if successes else math.nan,
            recent_return=float(np.mean([episode["r"] for episode in recent])) if recent else math.nan,
            recent_length=float(np.mean([episode["l"] for episode in recent])) if recent else math.nan,
            selection_success=self.best.success if self.best and successes else math.nan,
            episodes=self.counters.episodes,
            elapsed_s=self.elapsed_s,
            steps_per_s=(model.num_timesteps - self._started_at) / max(here_s, 1e-9),
        )
        self._on_progress(progress)
