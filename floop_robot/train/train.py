"""`floop train`: from nothing, or from demonstrations, to a policy.

One process learns, a helper process simulates; there are no sockets. Environment, learner, export and scenarios are
those of the fleet. Weights are selected on scenarios of their own; the reported success is measured once, on others.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.train.collector import Collector
from floop_robot.train.tensorboard_writer import TENSORBOARD_DIR, TensorboardWriter
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_env import TrainingEnvSpec
from floop_robot.train.train_output import TrainResult, exclusive_folder
from floop_robot.train.train_progress import ProgressCallback
from floop_robot.train.training_run import TrainingRun


def train(config: TrainConfig, on_progress: ProgressCallback = lambda _: None) -> TrainResult:
    """Train as `config` says and leave model.zip, policy bundle, checkpoint and effective config in `config.out`.

    Raises a `FloopError` for anything a user can correct (unknown task, no write permission, …).
    """
    started = time.monotonic()
    spec = TrainingEnvSpec(config.task, config.env, config.seed, config.randomize)
    spec.describe()  # raises for an unknown task or an unfit environment, before anything is written or started
    config.check()
    out = Path(config.out)
    with exclusive_folder(out), ExitStack() as stack:
        collector = stack.enter_context(Collector(spec))
        run = TrainingRun(config, spec, collector, on_progress, started)
        if config.tensorboard:
            writer = TensorboardWriter(out / TENSORBOARD_DIR, run.algorithm.model)
            run.callbacks.append(stack.enter_context(writer).write)
        run.demonstrate()
        run.learn()
        result = run.finish(out)
        # Written last, with what was made with it: a run that is stopped leaves the folder as it was.
        write_atomic(out / "config.yaml", msgspec.yaml.encode(config))
        return result
