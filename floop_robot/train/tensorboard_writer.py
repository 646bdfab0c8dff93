"""TensorboardWriter: curves of a training run under stable-baselines3's names, by its own logger."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from stable_baselines3.common.logger import Logger, configure

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from floop_robot.train.score import Score
    from floop_robot.train.train_progress import TrainProgress

TENSORBOARD_DIR = "tensorboard"


class TensorboardWriter:
    """Event files in a folder: what training shows, over steps, and what the model logs by itself (losses).

    Use as a context. Raises `ModuleNotFoundError` when tensorboard is not installed.
    """

    def __init__(self, folder: Path, model: BaseAlgorithm) -> None:
        import tensorboard  # noqa: F401  an extra: say so before anything is trained

        self.logger: Logger = configure(str(folder), ["tensorboard"])
        model.set_logger(self.logger)
        self._steps = 0

    def __enter__(self) -> TensorboardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.close()

    def write(self, progress: TrainProgress) -> None:
        """Add a point to every curve that has a value."""
        self._steps = progress.transitions
        values = {
            "rollout/ep_rew_mean": progress.recent_return,
            "rollout/ep_len_mean": progress.recent_length,
            "rollout/success_rate": progress.recent_success,
            "eval/best_success_rate": progress.selection_success,
            "eval/best_duration_s": progress.selection_time_s,
            "time/fps": progress.steps_per_s or math.nan,
            "time/episodes": progress.episodes,
            "time/time_elapsed": progress.elapsed_s,
            "time/total_timesteps": progress.transitions,
            "train/gradient_steps": progress.gradient_steps,
        }
        for name, value in values.items():
            if not math.isnan(value):
                self.logger.record(name, value)
        self.logger.dump(progress.transitions)

    def measured(self, score: Score, _: bool) -> None:
        """Add an evaluation."""
        self.logger.record("eval/mean_reward", score.mean_return)
        self.logger.record("eval/success_rate", score.success)
        self.logger.dump(self._steps)
