"""A training on images as `floop train` runs it: new or resumed, to its result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback

from floop_envs.seeds import Purpose
from floop_robot.train.environments.process_vec_env import ProcessVecEnv
from floop_robot.train.image_evaluator import ImageEvaluator
from floop_robot.train.image_keeper import MODEL, ImageKeeper
from floop_robot.train.image_model import image_model, restore_model, restore_replay, saved_rows
from floop_robot.train.monitor_file import MonitorFile
from floop_robot.train.policy_selector import SelectorState
from floop_robot.train.run_counters import RunCounters
from floop_robot.train.run_folder import RunFolder
from floop_robot.train.sb3_callbacks import MaybeCallback
from floop_robot.train.score import Score
from floop_robot.train.stop_signals import StopSignals
from floop_robot.train.tensorboard_writer import TENSORBOARD_DIR
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import TrainResult, save_result
from floop_robot.train.train_progress import ProgressCallback
from floop_robot.train.training_episode import EnvDescription
from floop_robot.train.training_state import Arrays, TrainingState

SavedTraining = tuple[TrainingState, Arrays]


class ImageRun:
    """One start of a training on images in its folder."""

    def __init__(
        self, config: TrainConfig, description: EnvDescription, folder: RunFolder, saved: SavedTraining | None = None
    ) -> None:
        self._config, self._description, self._folder, self._saved = config, description, folder, saved
        self._state = saved[0] if saved else new_state(config, description)

    def run(self, on_progress: ProgressCallback, callback: MaybeCallback) -> TrainResult:
        """Train, keep the best model, and measure it as it was saved.

        Raises a `FloopError` or `TrainingInterrupted`, which say what was kept.
        """
        config, counters = self._config, self._state.counters
        with ExitStack() as stack:
            stop = stack.enter_context(StopSignals())
            path = self._folder.monitor
            monitor = stack.enter_context(MonitorFile(path, config.env, counters.episodes, counters.elapsed_s))
            envs = ProcessVecEnv(config.env, config.n_envs)
            stack.callback(envs.close)
            model = self._model(envs)
            rate_hz = self._description.task.policy_rate_hz
            evaluator = stack.enter_context(ImageEvaluator(config.env, config.seed, rate_hz, stop))
            keeper = ImageKeeper(self._state, self._folder, evaluator, monitor, stop, on_progress)
            keeper.model = model
            with stop.kept_at_end(keeper.keep):
                self._learn(model, keeper, callback, stop)
                final = self._measured(model, keeper, evaluator)
            return self._result(keeper, final)

    def _model(self, envs: ProcessVecEnv) -> Any:
        config = self._config
        curves = self._folder.path / TENSORBOARD_DIR if config.tensorboard else None
        least_rows = saved_rows(self._folder.rows) if self._saved and config.algo == "sac" else 0
        model: Any = image_model(
            config, envs, has_goals=self._description.has_goals, curves=curves, least_rows=least_rows
        )
        if self._saved:
            state, arrays = self._saved
            restore_model(model, arrays[MODEL].tobytes())
            restore_replay(model, self._folder.rows)
            model.num_timesteps, model._n_updates = state.counters.transitions, state.gradient_steps
            envs.seed((config.seed + state.counters.episodes + 1) % 2**32)  # other episodes than at its beginning
        return model

    def _learn(self, model: Any, keeper: ImageKeeper, callback: MaybeCallback, stop: StopSignals) -> None:
        rest = self._config.total_timesteps - model.num_timesteps
        theirs = [] if callback is None else callback if isinstance(callback, list) else [callback]
        if rest > 0 and not keeper.counters.is_done:
            callbacks = [keeper, *map(_as_callback, theirs)]
            model.learn(rest, callback=callbacks, tb_log_name="images", reset_num_timesteps=False)
            is_short = model.num_timesteps < self._config.total_timesteps
            keeper.counters.is_stopped = is_short and not keeper.counters.is_done
        stop.raise_if_received()
        if keeper.counters.evaluated_at != model.num_timesteps:
            keeper.measure()
        keeper.note()
        keeper.write_state()

    def _measured(self, model: Any, keeper: ImageKeeper, evaluator: ImageEvaluator) -> Score:
        """The figures of the model as it lies in the folder."""
        keeper.report_progress("final scenarios")
        saved = type(model).load(self._folder.model, device=self._config.device)
        return evaluator.measure(saved, Purpose.REPORT, range(self._config.final_episodes))

    def _result(self, keeper: ImageKeeper, final: Score) -> TrainResult:
        counters, folder, best = keeper.counters, self._folder, keeper.best
        tells = counters.reports_success
        result = TrainResult(
            success=final.success if tells else None,
            mean_pick_time_s=final.time_s if tells else None,
            bc_success=None,
            bc_pick_time_s=None,
            mean_return=final.mean_return,
            final_episodes=self._config.final_episodes,
            selection_success=best.success if best and tells else None,
            transitions=counters.transitions,
            demonstration_transitions=0,
            gradient_steps=keeper.state.gradient_steps,
            wall_s=keeper.elapsed_s,
            seed=self._config.seed,
            device=self._config.device,
            ended=counters.why_ended(self._config.until_success),
            out=str(folder.path),
            model=str(folder.model),
            bundle="",
            checkpoint="",
        )
        save_result(result, folder.result)
        return result


def new_state(config: TrainConfig, description: EnvDescription) -> TrainingState:
    """Where a training on images begins."""
    return TrainingState(
        config=config,
        task=description.task,
        ids=description.ids,
        counters=RunCounters(reports_success=description.reports_success),
        gradient_steps=0,
        owed=0.0,
        rows_bytes=0,
        recent=(),
        selector=SelectorState(0),
        algorithm={},
    )


def _as_callback(callback: BaseCallback | Callable[..., Any]) -> BaseCallback:
    return callback if isinstance(callback, BaseCallback) else ConvertCallback(callback)
