"""TensorboardWriter of a training run for TensorBoard, written by stable-baselines3's own logger."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from stable_baselines3.common.logger import configure

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from floop_robot.train.train_progress import TrainProgress

TENSORBOARD_DIR = "tensorboard"
_STEP = "transitions"
_CURVES = ("gradient_steps", "recent_success", "recent_return", "selection_success", "selection_time_s", "elapsed_s")


class TensorboardWriter:
    """Event files in a folder: what training shows, over transitions, and what the model logs by itself (losses).

    Use as a context. Raises `ModuleNotFoundError` when tensorboard is not installed.
    """

    def __init__(self, folder: Path, model: BaseAlgorithm) -> None:
        import tensorboard  # noqa: F401  an extra: say so before anything is trained

        self._logger = configure(str(folder), ["tensorboard"])
        model.set_logger(self._logger)

    def __enter__(self) -> TensorboardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.close()

    def write(self, progress: TrainProgress) -> None:
        """Add a point to every curve that has a value."""
        values = msgspec.structs.asdict(progress)
        for name in _CURVES:
            if not math.isnan(values[name]):
                self._logger.record(f"floop/{name}", values[name])
        self._logger.dump(values[_STEP])
