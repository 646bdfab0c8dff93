"""A training on images as `floop train` runs it: plan, training, result."""

from __future__ import annotations

import time

from floop_robot.spec.errors import FloopError
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train.environments.image_training import ImageTrainingPlan, train_on_images
from floop_robot.train.run_folder import RunFolder
from floop_robot.train.sb3_callbacks import MaybeCallback
from floop_robot.train.stop_signals import TrainingInterrupted
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
    started = time.monotonic()
    settings = config.settings
    plan = ImageTrainingPlan(
        env=config.env,
        settings=settings,
        seed=config.seed,
        steps=config.total_timesteps,
        learning_starts=config.learning_starts,
        n_envs=config.n_envs,
        tensorboard=config.tensorboard,
        final_episodes=config.final_episodes,
        n_sampled_goal=settings.n_sampled_goal if isinstance(settings, SacSettings) and description.has_goals else 0,
        device=config.device,
    )
    kept = f"the best model so far is in {folder.model}; a training on images can't be resumed"
    try:
        done = train_on_images(plan, folder.path, on_progress, callback)
    except KeyboardInterrupt:
        raise TrainingInterrupted(f"stopped; {kept}") from None
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
