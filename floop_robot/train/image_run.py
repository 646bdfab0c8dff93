"""A training on images as `floop train` runs it: plan, training, result."""

from __future__ import annotations

import signal
import time

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.spec.errors import EnvironmentFailed, FloopError
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train.environments.error_place import EnvironmentInterrupted
from floop_robot.train.environments.image_training import ImageTrainingPlan, train_on_images
from floop_robot.train.image_settings import image_recipe
from floop_robot.train.run_folder import RunFolder
from floop_robot.train.sb3_callbacks import MaybeCallback
from floop_robot.train.stop_signals import StopSignals, TrainingInterrupted
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import TrainResult, save_result
from floop_robot.train.train_progress import ProgressCallback
from floop_robot.train.training_episode import EnvDescription


def train_images(
    config: TrainConfig,
    description: EnvDescription,
    folder: RunFolder,
    on_progress: ProgressCallback,
    callback: MaybeCallback,
) -> TrainResult:
    """Train as `config` says and leave model.zip and result.json in the folder.

    Raises a `FloopError` or `TrainingInterrupted`, which say what was kept.
    """
    write_atomic(folder.config, msgspec.yaml.encode(image_recipe(config)))
    started = time.monotonic()
    plan = _plan(config, description)
    kept = f"the best model so far is in {folder.model}; a training on images can't be resumed"
    try:
        with StopSignals() as stop:
            done = train_on_images(plan, folder, on_progress, callback, stop)
    except KeyboardInterrupt as error:
        if stop.received is None and isinstance(error, EnvironmentInterrupted):
            raise EnvironmentFailed(f"{error}; {kept}") from None
        raise TrainingInterrupted(f"stopped; {kept}", stop.received or signal.SIGINT) from None
    except FloopError as error:
        error.args = (f"{error}; {kept}",)
        raise
    result = TrainResult(
        success=done.final.success if done.reports_success else None,
        mean_pick_time_s=done.final.time_s if done.reports_success else None,
        bc_success=None,
        bc_pick_time_s=None,
        mean_return=done.final.mean_return,
        final_episodes=config.final_episodes,
        selection_success=done.selected.success if done.reports_success else None,
        transitions=done.steps,
        demonstration_transitions=0,
        gradient_steps=done.gradient_steps,
        wall_s=time.monotonic() - started,
        seed=config.seed,
        device=config.device,
        out=str(folder.path),
        model=str(folder.model),
        bundle="",
        checkpoint="",
    )
    save_result(result, folder.result)
    return result


def _plan(config: TrainConfig, description: EnvDescription) -> ImageTrainingPlan:
    settings = config.settings
    return ImageTrainingPlan(
        env=config.env,
        settings=settings,
        seed=config.seed,
        steps=config.total_timesteps,
        learning_starts=config.learning_starts,
        n_envs=config.n_envs,
        tensorboard=config.tensorboard,
        eval_freq=config.evaluation_period,
        n_eval_episodes=config.n_eval_episodes,
        until_success=config.until_success,
        selection_episodes=config.selection_episodes,
        final_episodes=config.final_episodes,
        n_sampled_goal=settings.n_sampled_goal if isinstance(settings, SacSettings) and description.has_goals else 0,
        device=config.device,
    )
