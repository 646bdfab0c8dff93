"""`floop train`: from nothing, or from demonstrations, to a policy.

One process learns, a helper process simulates; there are no sockets. Environment, learner, export and scenarios are
those of the fleet. Weights are selected on scenarios of their own; the reported success is measured once, on others.
"""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train.collector import Collector
from floop_robot.train.image_run import train_images
from floop_robot.train.tensorboard_writer import TENSORBOARD_DIR, TensorboardWriter
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_env import TrainingEnvSpec
from floop_robot.train.train_output import TrainingInterrupted, TrainResult, exclusive_folder, interrupt_deferred
from floop_robot.train.train_progress import ProgressCallback
from floop_robot.train.training_run import TrainingRun

log = logging.getLogger(__name__)


def train(config: TrainConfig, on_progress: ProgressCallback = lambda _: None) -> TrainResult:
    """Train as `config` says and leave model.zip, policy bundle, checkpoint and effective config in `config.out`.

    Raises a `FloopError` for anything a user can correct (unknown task, no write permission, …), and
    `TrainingInterrupted`.
    """
    started = time.monotonic()
    config.check()
    settings = config.settings
    goals = settings.n_sampled_goal if isinstance(settings, SacSettings) else 0
    spec = TrainingEnvSpec(config.task, config.env, config.seed, config.randomize, n_sampled_goal=goals)
    out, is_written = Path(config.out), False
    try:
        with Collector(spec) as collector, ExitStack() as stack:
            description = collector.describe()  # raises for what can't be trained, before anything is written
            stack.enter_context(exclusive_folder(out))
            for note in description.notes:
                log.warning("%s", note)
            if description.needs_cnn:
                result = train_images(config, description, on_progress, started)
                write_atomic(out / "config.yaml", msgspec.yaml.encode(config))
                return result
            run = TrainingRun(config, description, collector, on_progress, started)
            if config.tensorboard:
                writer = TensorboardWriter(out / TENSORBOARD_DIR, run.algorithm.model)
                run.callbacks.append(stack.enter_context(writer).write)
            run.demonstrate()
            run.learn()
            final = run.measure()
            # Written last and together: a run that is stopped leaves the policy in the folder as it was.
            with interrupt_deferred():
                result = run.write(out, final)
                write_atomic(out / "config.yaml", msgspec.yaml.encode(config))
                is_written = True
            return result
    except KeyboardInterrupt:
        raise TrainingInterrupted(_what_is_left(config, is_written)) from None


def _what_is_left(config: TrainConfig, is_written: bool) -> str:
    if is_written:
        return f"stopped; training had ended, and all of it is in {config.out}"
    curves = f" but the curves in {Path(config.out) / TENSORBOARD_DIR}" if config.tensorboard else ""
    return f"stopped; nothing was kept{curves}: a policy is written to {config.out} only when training ends"
