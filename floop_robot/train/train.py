"""`floop train`: from nothing, or from demonstrations, to a policy.

One process learns, helper processes simulate; there are no sockets. Environment, learner, export and scenarios are
those of the fleet. Weights are selected on scenarios of their own. The reported figure is that of the policy as it was
written, measured once, on others.

    from floop_robot.train.train import resume, train
    from floop_robot.train.train_config import TrainConfig

    result = train(TrainConfig(env="Pendulum-v1", sac=SacSettings(gamma=0.99)), callback=CheckpointCallback(1000, "x"))
    result = resume("runs/train_1", total_timesteps=100_000)
"""

from __future__ import annotations

import logging
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, cast

import msgspec

from floop_envs.simulated_urdf import check_gripper
from floop_robot.bundle import Bundle, write_atomic
from floop_robot.learn.device_update import resolve_device
from floop_robot.spec.errors import ConfigError, FloopError
from floop_robot.spec.hyperparameters import UNSET, PpoSettings, SacSettings
from floop_robot.spec.robot_model import load_robot
from floop_robot.train.checkpointer import Checkpointer
from floop_robot.train.collector import Collector
from floop_robot.train.idle_fields import acting_recipe, idle_fields, require_acting
from floop_robot.train.image_run import ImageRun, SavedTraining
from floop_robot.train.monitor_file import MonitorFile
from floop_robot.train.run_folder import RESULT, STATE, RunFolder, next_folder, resumed_folder
from floop_robot.train.sb3_callbacks import CallbackRunner, MaybeCallback
from floop_robot.train.score import Score
from floop_robot.train.stop_signals import StopSignals, TrainingInterrupted
from floop_robot.train.take_log import TakeLog, read_takes
from floop_robot.train.tensorboard_writer import TENSORBOARD_DIR, TensorboardWriter
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_env import TrainingEnvSpec
from floop_robot.train.train_output import TrainResult, save_result
from floop_robot.train.train_progress import ProgressCallback
from floop_robot.train.training_episode import EnvDescription, TrainingEpisode
from floop_robot.train.training_run import TrainingRun
from floop_robot.train.training_state import TrainingState, load_state

log = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    on_progress: ProgressCallback = lambda _: None,
    *,
    callback: MaybeCallback = None,
    overwrite: bool = False,
) -> TrainResult:
    """Train as `config` says and leave policy, checkpoint and effective config in its folder.

    `callback`: of stable-baselines3, one or a list. `overwrite`: whether the folder may hold another training.
    Raises a `FloopError` for anything a user can correct (unknown task, no write permission, …), and
    `TrainingInterrupted`.
    """
    check_config(config)
    effective = config.effective(_device(config))
    with Collector(_spec(effective), workers=config.n_envs) as collector:
        description = collector.describe()  # raises for what can't be trained, before anything is written
        require_acting(config, idle_fields(config, description))
        effective = _with_whole_episodes(effective, config, description)
        for note in (*description.notes, *_unheard(config, description)):
            log.warning("%s", note)
        with RunFolder(Path(config.out) if config.out else next_folder()) as folder:
            folder.start(overwrite=overwrite)
            return _go_on(effective, description, collector, folder, None, on_progress, callback)


def resume(
    folder: Path | str,
    on_progress: ProgressCallback = lambda _: None,
    *,
    callback: MaybeCallback = None,
    total_timesteps: int | None = None,
) -> TrainResult:
    """Go on with the training in a folder where it was, with the settings that it began with.

    `total_timesteps`: another end. Raises as `train` does.
    """
    with resumed_folder(Path(folder)) as place:
        state, arrays = load_state(place.state)
        config = state.config
        if total_timesteps is not None:
            config = msgspec.structs.replace(config, total_timesteps=total_timesteps)
            config.check()
        _require_unfinished(place, state, config)
        saved = msgspec.structs.replace(state, config=config), arrays
        with Collector(_spec(config, state.counters.next_index), workers=config.n_envs) as collector:
            description = collector.describe()
            if config.env:
                description = description.scaled_as(state.task, state.ids)
            if description.ids != state.ids:
                raise ConfigError(
                    f"{config.env or config.task} is not as it was when the training in {place.path} began "
                    f"(contract {state.ids.contract}, now {description.ids.contract}); train again"
                )
            for note in description.notes:
                log.warning("%s", note)
            return _go_on(config, description, collector, place, saved, on_progress, callback)


def check_config(config: TrainConfig) -> None:
    """Raise `ConfigError` for a field that is wrong, or that does nothing."""
    config.check()
    require_acting(config, idle_fields(config))
    if not config.env:
        check_gripper(load_robot(config.robot))


def _with_whole_episodes(effective: TrainConfig, config: TrainConfig, description: EnvDescription) -> TrainConfig:
    """`effective`, which on images with goals learns once an episode is whole: stable-baselines3's HER can't before."""
    first = description.task.max_steps * config.n_envs
    if not (description.needs_cnn and description.has_goals) or effective.learning_starts >= first:
        return effective
    if config.learning_starts is not UNSET:
        raise ConfigError(f"learning_starts is {config.learning_starts}, but HER on images needs {first}; raise it")
    return msgspec.structs.replace(effective, learning_starts=first)


def _unheard(config: TrainConfig, description: EnvDescription) -> list[str]:
    """A line for each field that acts by success, where none was told yet."""
    plain = TrainConfig()
    names = [name for name in ("until_success", "select_every") if getattr(config, name) != getattr(plain, name)]
    if description.reports_success:
        return []
    return [
        f"{name} is {getattr(config, name)}, but {config.env} told no success (info['is_success']) in random play; "
        "it does nothing unless an episode tells one"
        for name in names
    ]


def _go_on(
    config: TrainConfig,
    description: EnvDescription,
    collector: Collector,
    folder: RunFolder,
    saved: SavedTraining | None,
    on_progress: ProgressCallback,
    callback: MaybeCallback,
) -> TrainResult:
    recipe = acting_recipe(config, idle_fields(config, description))
    write_atomic(folder.config, msgspec.yaml.encode(recipe))
    if description.needs_cnn:
        result = ImageRun(config, description, folder, saved).run(on_progress, callback)
    else:
        result = _Session(config, description, collector, folder, saved).run(on_progress, callback)
    _warn_if_untrained(result, config)
    return result


def is_finished(folder: Path, total_timesteps: int) -> bool:
    """Whether a training has its result, and would not go on to so many steps; raises `StorageError`."""
    counters = load_state(folder / STATE)[0].counters
    return (folder / RESULT).exists() and (counters.is_done or counters.transitions >= total_timesteps)


def _require_unfinished(place: RunFolder, state: TrainingState, config: TrainConfig) -> None:
    done, steps = state.counters.is_done, state.counters.transitions
    if config.total_timesteps != state.config.total_timesteps and steps > config.total_timesteps:
        raise ConfigError(
            f"the training in {place.path} has made {steps} steps already; give --steps more than {steps}"
        )
    if place.result.exists() and (done or steps >= config.total_timesteps):
        why = f"reached until_success {config.until_success:g}" if done else "used up its steps"
        cure = "train anew with a higher one" if done else f"give --steps more than {steps}"
        raise ConfigError(f"the training in {place.path} {why} after {steps} steps; {cure}")


def _warn_if_untrained(result: TrainResult, config: TrainConfig) -> None:
    if result.gradient_steps or result.bc_success is not None:
        return
    settings = config.settings
    first = settings.n_steps if isinstance(settings, PpoSettings) else config.learning_starts
    log.warning(
        "nothing was learned: no gradient step in %d steps, since the first comes after %d; give more --steps",
        result.transitions,
        first,
    )


def _device(config: TrainConfig) -> Literal["cpu", "cuda"]:
    settings = config.settings
    if isinstance(settings, PpoSettings):
        if config.device == "cuda":
            raise ConfigError("device is cuda, but PPO computes on the CPU; use auto or cpu")
        return "cpu"
    return cast(Literal["cpu", "cuda"], resolve_device(config.device, settings.net_arch))


def _spec(config: TrainConfig, first_episode: int = 0) -> TrainingEnvSpec:
    settings = config.settings
    return TrainingEnvSpec(
        task=config.task,
        env=config.env,
        seed=config.seed,
        randomize=config.randomize,
        robot=config.robot,
        n_sampled_goal=settings.n_sampled_goal if isinstance(settings, SacSettings) else 0,
        first_episode=first_episode,
    )


class _Session:
    """One start of a training, new or resumed, in its folder."""

    def __init__(
        self,
        config: TrainConfig,
        description: EnvDescription,
        collector: Collector,
        folder: RunFolder,
        saved: SavedTraining | None = None,
    ) -> None:
        self._config, self._description, self._collector, self._folder = config, description, collector, folder
        self._saved = saved

    def run(self, on_progress: ProgressCallback, callback: MaybeCallback) -> TrainResult:
        size = self._saved[0].rows_bytes if self._saved else 0
        with ExitStack() as stack:
            takes = stack.enter_context(TakeLog(self._folder.rows, size))
            run = TrainingRun(self._config, self._description, self._collector, takes)
            if self._saved:
                run.restore(*self._saved, read_takes(self._folder.rows, size))
            stop = stack.enter_context(StopSignals())
            keeper = Checkpointer(self._folder, run, takes, stop)
            self._hook(run, keeper, on_progress, callback, stack)
            with stop.kept_at_end(keeper.keep):
                run.demonstrate()
                keeper.at_boundary()
                run.learn()
                keeper.write()
                run.finish()
                keeper.write_policy()
            return self._measure(run, stop)

    def _hook(
        self,
        run: TrainingRun,
        keeper: Checkpointer,
        on_progress: ProgressCallback,
        callback: MaybeCallback,
        stack: ExitStack,
    ) -> None:
        counters = run.counters
        monitor = MonitorFile(self._folder.monitor, run.task.id, counters.episodes, counters.elapsed_s)
        stack.enter_context(monitor)

        def write_episode(episode: TrainingEpisode) -> bool:
            if episode.is_over:
                monitor.write(run.recent[-1])
            return True

        hooks = run.hooks
        hooks.progress.append(on_progress)
        hooks.collected.append(write_episode)
        hooks.measured.append(keeper.on_measured)
        if self._config.tensorboard:
            writer = TensorboardWriter(self._folder.path / TENSORBOARD_DIR, run.algorithm.model)
            stack.enter_context(writer)
            hooks.progress.append(writer.write)
            hooks.measured.append(writer.measured)
        if callback is not None:
            runner = stack.enter_context(CallbackRunner(callback, run, self._config))
            hooks.collected.append(runner.collected)
        hooks.boundary.append(keeper.at_boundary)

    def _measure(self, run: TrainingRun, stop: StopSignals) -> TrainResult:
        """The figures of the policy as it lies in the folder, written beside it."""
        kept = f"training had ended, and its policy is in {self._folder.path}, but was not measured"
        try:
            stop.raise_if_received()
            result = self._result(run, run.measure(Bundle.load(self._folder.bundle)))
        except KeyboardInterrupt:
            text = f"stopped; {kept}; floop train --resume {self._folder.path} measures it"
            raise TrainingInterrupted(text, stop.received or signal.SIGINT) from None
        except FloopError as error:
            error.args = (f"{error}; {kept}",)
            raise
        save_result(result, self._folder.result)
        return result

    def _result(self, run: TrainingRun, score: Score) -> TrainResult:
        counters, cloned, best, folder = run.counters, run.selector.cloned, run.selector.best, self._folder
        tells = counters.reports_success
        return TrainResult(
            success=score.success if tells else None,
            mean_pick_time_s=score.time_s if tells else None,
            bc_success=cloned.success if cloned else None,
            bc_pick_time_s=cloned.time_s if cloned else None,
            mean_return=score.mean_return,
            final_episodes=self._config.final_episodes,
            selection_success=best[0].success if best and tells else None,
            transitions=counters.transitions,
            demonstration_transitions=counters.demonstrated,
            gradient_steps=run.algorithm.progress.gradient_steps,
            wall_s=run.elapsed_s,
            seed=self._config.seed,
            device=self._config.device,
            ended=counters.why_ended(self._config.until_success),
            out=str(folder.path),
            model=str(folder.model),
            bundle=str(folder.bundle),
            checkpoint=str(folder.checkpoint),
        )
