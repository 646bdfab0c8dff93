"""`floop train`: from nothing, or from demonstrations, to a policy; one process with a simulating helper, no sockets.

Environment, learner, export and scenarios are those of the fleet. Which weights are kept is decided on scenarios of
their own; the reported success is measured once, afterwards, on others.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.seeds import Purpose
from floop_robot.bundle import Normalization, write_atomic
from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.behavior_cloning import clone_into
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.learn.mlp import Array
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.utd_budget import UtdBudget
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import BehaviorCloningSettings, PpoSettings, SacSettings
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.train.collector import (
    ActorMessage,
    Collector,
    CollectRequest,
    collect_episodes,
    episode_range,
    success_count,
)
from floop_robot.train.tensorboard_writer import TENSORBOARD_DIR, TensorboardWriter
from floop_robot.train.train_env import TrainingEnv, TrainingEnvSpec, TrainingEpisode, no_demonstrations
from floop_robot.train.train_output import (
    PolicyWriter,
    Score,
    TrainingDataSummary,
    TrainResult,
    exclusive_folder,
    save_result,
    score_of,
)

RECENT_EPISODES = 40
"""Training episodes whose success says whether measuring on the selection scenarios is worth its time."""
MAX_TIME_RATIO = 0.79
"""SAC with demonstrations goes on until picks take this share of the cloned policy's time (or data runs out)."""

SELECTION_MARGIN = 1.65
"""Standard errors of the selection above what is asked for: what to reach before it is confirmed."""
CONFIRM_REPEATS = 3
"""What seems good enough is measured on so many times `selection_episodes` new scenarios …"""
CONFIRM_MARGIN = 2.0
"""… and must be so many standard errors above what is asked for, those of this measurement and the final one together:
the final figure seldom falls below it."""


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything `floop train` needs; a recipe is one of these as YAML."""

    task: str = "floop/Pick-v0"
    env: str = ""
    """A Gymnasium id that takes the place of the task."""
    algo: str = "sac"
    demonstrations: int = 0
    seed: int = 0
    until_success: float = 0.95
    out: str = "runs/train"
    max_transitions: int = 40_000
    episodes_per_batch: int = 1
    """Episodes made with the same weights, while gradients of the batch before are computed."""
    learning_starts: int = 500
    """Transitions before the first gradient step."""
    selection_episodes: int = 100
    select_every: int = 500
    """Transitions between two measurements on the selection scenarios, once training episodes go well."""
    final_episodes: int = 200
    prior_rows: int = 4000
    """Training rows that travel with the checkpoint, as known tasks for a learner that goes on from it."""
    randomize: bool = False
    """Vary what can't be perceived (friction, mass, delay, calibration) from training episode to training episode."""
    tensorboard: bool = False
    """Write curves for TensorBoard to `out`/tensorboard."""
    sac: SacSettings = msgspec.field(default_factory=SacSettings)
    ppo: PpoSettings = msgspec.field(default_factory=PpoSettings)
    clone: BehaviorCloningSettings = msgspec.field(default_factory=BehaviorCloningSettings)


class TrainProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown while training."""

    phase: str
    transitions: int = 0
    max_transitions: int = 0
    gradient_steps: int = 0
    recent_success: float = math.nan
    recent_return: float = math.nan
    selection_success: float = math.nan
    selection_time_s: float = math.nan
    elapsed_s: float = 0.0


ProgressCallback = Callable[[TrainProgress], None]


def train(config: TrainConfig, on_progress: ProgressCallback = lambda _: None) -> TrainResult:
    """Train as `config` says and leave model.zip, policy bundle, checkpoint and effective config in `config.out`.

    Raises a `FloopError` for anything a user can mend (unknown task, no write permission, …).
    """
    started = time.monotonic()
    spec = TrainingEnvSpec(config.task, config.env, config.seed, config.randomize)
    spec.describe()  # raises for an unknown task or an unfit environment, before anything is written or started
    _check(config)
    out = Path(config.out)
    with exclusive_folder(out), ExitStack() as stack:
        collector = stack.enter_context(Collector(spec))
        run = TrainingRun(config, spec, collector, on_progress, started)
        if config.tensorboard:
            run.callbacks.append(
                stack.enter_context(TensorboardWriter(out / TENSORBOARD_DIR, run.algorithm.model)).write
            )
        run.demonstrate()
        run.learn()
        result = run.finish(out)
        # With what was made with it: a run that is stopped leaves the folder as it was.
        write_atomic(out / "config.yaml", msgspec.yaml.encode(config))
        return result


def _check(config: TrainConfig) -> None:
    if config.algo not in ("sac", "ppo"):
        raise ConfigError(f"algo is {config.algo!r}; use sac or ppo")
    if config.env and config.demonstrations:
        raise no_demonstrations(config.env)
    if not 0.0 < config.until_success <= 1.0:
        raise ConfigError(f"until_success is {config.until_success}; use a share above 0 and at most 1")


class TrainingRun:
    """One training run: the loop of acting, learning and selecting."""

    def __init__(
        self,
        config: TrainConfig,
        spec: TrainingEnvSpec,
        collector: Collector,
        on_progress: ProgressCallback,
        started: float,
    ) -> None:
        self.config, self.spec, self.collector, self._started = config, spec, collector, started
        self.callbacks = [on_progress]
        self.task, self.ids, self.reports_success = spec.describe()
        self.space = PolicySpace.of(self.task)
        self.algorithm = self._make_algorithm()
        self.normalization = Normalization(
            tuple(self.task.observation.offset.tolist()), tuple(self.task.observation.scale.tolist())
        )
        self.transitions = self.demonstrated = self._next_index = 0
        self._version = self._published_steps = 0
        self._utd_budget = UtdBudget(math.inf)
        self._recent: deque[TrainingEpisode] = deque(maxlen=RECENT_EPISODES)
        self._data_summary = TrainingDataSummary(self.task.observation.size)
        self._cloned: ActorMessage | None = None
        self._cloned_score: Score | None = None
        self._scenarios_used = self.config.selection_episodes
        """Selection scenarios used so far; those beyond are new."""
        self._best: tuple[Score, dict[str, Array]] | None = None

    def _make_algorithm(self) -> Algorithm:
        config = self.config
        if config.algo == "ppo":
            return make_algorithm(self.space, config.ppo, config.seed)
        sac = config.sac
        if config.env and sac == SacSettings():  # the defaults know the scale of floop's own tasks
            sac = SacSettings(value_range=None, reward_scale=1.0, ent_coef="auto", gamma=0.98)
        if not config.demonstrations:  # nothing prior to draw from: everything is new
            sac = msgspec.structs.replace(sac, prior_fraction=0.0)
        return make_algorithm(self.space, sac, config.seed)

    def demonstrate(self) -> None:
        """Have the expert show `demonstrations` success_count; clone them."""
        wanted = self.config.demonstrations
        shown: list[Transitions] = []
        index = 0
        while len(shown) < wanted:
            if index > 4 * wanted + 20:
                raise ConfigError(f"only {len(shown)} of {index} demonstrations of {self.task.id} succeed")
            self._report_progress("demonstrations", transitions=len(shown))
            request = CollectRequest(
                None, Purpose.DEMONSTRATION, episode_range(index, wanted - len(shown)), sample=True
            )
            index += len(request.indices)
            shown += [episode.rows for episode in self.collector.make(request) if episode.success]
        if not shown:
            return
        for i, rows in enumerate(shown):
            self._take("demonstrator", rows, i, success=True, demonstration=True)
        self.demonstrated = sum(map(len, shown))
        observations = self.space.normalizer(np.concatenate([rows.obs for rows in shown]))
        actions = np.concatenate([rows.action for rows in shown])
        before = {name: array.copy() for name, array in self.algorithm.arrays().items()}
        clone_into(self.algorithm.model, observations, actions, self.config.clone)
        self._cloned = self._actor()
        if self.config.algo == "sac":  # a cloned actor before untrained critics is unlearned at once
            self.algorithm.restore(before, 0)
        self._report_progress("behavior cloning")
        self._cloned_score = self._measure(self._cloned, episode_range(0, self.config.selection_episodes))

    def learn(self) -> None:
        """Act, learn and select until it is good enough or the data is used up."""
        config = self.config
        selected_at = 0
        self._request_episodes()
        while self.transitions < config.max_transitions:
            self._improve()
            version = self._version
            for episode in self.collector.receive():
                self._collected(episode, version)
            good = self._should_measure() and self.transitions - selected_at >= config.select_every
            if good or self.transitions >= config.max_transitions:
                selected_at = self.transitions
                if self._select():
                    break
            self._request_episodes()
            self._report_progress("learning")
        if self._best is not None:
            self.algorithm.restore(self._best[1], self.algorithm.progress.gradient_steps)

    def _request_episodes(self) -> None:
        count = self.config.episodes_per_batch
        indices = episode_range(self._next_index, count)
        self._next_index += count
        if self.algorithm.progress.gradient_steps != self._published_steps:
            self._published_steps = self.algorithm.progress.gradient_steps
            self._version += 1
            self.algorithm.on_weights_published(self._version)
        self.collector.ask(CollectRequest(self._actor(), Purpose.TRAINING, indices, sample=True))

    def _collected(self, episode: TrainingEpisode, version: int) -> None:
        rows = episode.rows
        rows = msgspec.structs.replace(rows, policy_version=np.full(len(rows), version, np.int64))
        self._recent.append(episode)
        self.transitions += len(rows)
        self._take("explorer", rows, int(rows.episode[0]), success=episode.success, demonstration=False)

    def _take(self, who: str, rows: Transitions, episode: int, *, success: bool, demonstration: bool) -> None:
        self._data_summary.take(rows)
        source = Source.DEMONSTRATION if demonstration else Source.EXPLORER
        rows.is_new[:] = not demonstration
        stream = StreamInfo(who, "train", self.task.id, self.ids, source)
        worth = self.algorithm.take(stream, rows, (EndedEpisode(episode, failed=not success),))
        # The first rows are too few to draw half of every batch from: learning from them alone leads astray.
        if not demonstration and self.transitions >= self.config.learning_starts:
            self._utd_budget.add(worth)

    def _improve(self) -> None:
        while self._utd_budget.owed and self.algorithm.ready:
            self._utd_budget.spend(self.algorithm.update(self._utd_budget.owed))

    def _should_measure(self) -> bool:
        if not self.reports_success:
            return False
        # Exploring costs some success: what is sampled here is measured without noise there.
        enough = len(self._recent) == RECENT_EPISODES
        return enough and success_count(list(self._recent)) >= RECENT_EPISODES * (self.config.until_success - 0.1)

    def _select(self) -> bool:
        """Measure on the selection scenarios and remember the best weights; returns whether to stop."""
        self._report_progress("selecting")
        with self.algorithm.averaged_weights():
            actor = self._actor()
        config = self.config
        score = self._measure(actor, episode_range(0, config.selection_episodes))
        if self._is_good_enough(score, self._goal()):
            # The best of many looks at the same scenarios flatters: it has to show as much on many new ones.
            count = CONFIRM_REPEATS * config.selection_episodes
            score = self._measure(actor, episode_range(self._scenarios_used, count))
            self._scenarios_used += count
            done = self._is_good_enough(score, self._goal(count))
        else:
            done = False
        if self._best is None or _better(score, self._best[0], self._goal()):
            self._best = score, {name: array.copy() for name, array in self.algorithm.arrays().items()}
        return done

    def _is_good_enough(self, score: Score, goal: float) -> bool:
        return self.reports_success and score.success >= goal and self._is_fast_enough(score)

    def _goal(self, confirming: int = 0) -> float:
        """Success to reach on the selection scenarios, or on `confirming` new ones."""
        p, shown = self.config.until_success, self.config.selection_episodes
        if confirming:
            goal = p + CONFIRM_MARGIN * math.hypot(
                _standard_error(p, confirming), _standard_error(p, self.config.final_episodes)
            )
        else:
            goal = p + SELECTION_MARGIN * _standard_error(p, shown)
        if self._cloned_score is not None:  # being faster is no excuse for failing more often than the demonstrations
            p = (shown * self._cloned_score.success + 1.0) / (shown + 2.0)  # Laplace: 100 of 100 is not certainty
            goal = max(goal, p - _standard_error(p, shown))
        return min(goal, 1.0)

    def _is_fast_enough(self, score: Score) -> bool:
        cloned = self._cloned_score
        if self.config.algo == "ppo" or cloned is None or cloned.time_s is None or score.time_s is None:
            return True
        return score.time_s <= MAX_TIME_RATIO * cloned.time_s

    def _measure(self, actor: ActorMessage, indices: tuple[int, ...]) -> Score:
        """Measure on selection scenarios, half of them here and half in the other process."""
        self.collector.ask(CollectRequest(actor, Purpose.SELECTION, indices[1::2], sample=False))
        here = collect_episodes(self._local_env, CollectRequest(actor, Purpose.SELECTION, indices[::2], sample=False))
        return score_of(here + self.collector.receive())

    @cached_property
    def _local_env(self) -> TrainingEnv:
        """A simulation in this process."""
        return self.spec.make()

    def _actor(self) -> ActorMessage:
        architecture, tensors = actor_architecture(self.algorithm.model)
        return ActorMessage(architecture, self.normalization, tensors)

    def finish(self, out: Path) -> TrainResult:
        """Measure once on the final scenarios and write everything."""
        self._report_progress("final scenarios")
        numbers = episode_range(0, self.config.final_episodes)
        with self.algorithm.averaged_weights():
            actor = self._actor()
        self.collector.ask(CollectRequest(actor, Purpose.REPORT, numbers, sample=False))
        cloned = None
        if self._cloned is not None:  # measured here, while the other process measures the trained policy
            cloned = score_of(
                collect_episodes(self._local_env, CollectRequest(self._cloned, Purpose.REPORT, numbers, False))
            )
        score = score_of(self.collector.receive())
        config = self.config
        writer = PolicyWriter(
            task=self.task, ids=self.ids, space=self.space, prior_rows=config.prior_rows, seed=config.seed
        )  # fmt: skip
        paths = writer.write(out, self.algorithm, self._data_summary, self.transitions + self.demonstrated)
        reports_success = self.reports_success
        result = TrainResult(
            success=score.success if reports_success else None,
            mean_pick_time_s=score.time_s if reports_success else None,
            bc_success=cloned.success if cloned else None,
            bc_pick_time_s=cloned.time_s if cloned else None,
            mean_return=score.mean_return,
            selection_success=self._best[0].success if self._best and reports_success else None,
            transitions=self.transitions,
            demonstration_transitions=self.demonstrated,
            gradient_steps=self.algorithm.progress.gradient_steps,
            wall_s=time.monotonic() - self._started,
            model=str(paths.model),
            bundle=str(paths.bundle),
            checkpoint=str(paths.checkpoint),
        )
        save_result(result, out)
        return result

    def _report_progress(self, phase: str, transitions: int | None = None) -> None:
        recent, best = list(self._recent), self._best[0] if self._best else None
        progress = TrainProgress(
            phase=phase,
            transitions=self.transitions if transitions is None else transitions,
            max_transitions=self.config.max_transitions,
            gradient_steps=self.algorithm.progress.gradient_steps,
            recent_success=success_count(recent) / len(recent) if recent and self.reports_success else math.nan,
            recent_return=float(np.mean([e.total_reward for e in recent])) if recent else math.nan,
            selection_success=best.success if best else math.nan,
            selection_time_s=best.time_s or math.nan if best else math.nan,
            elapsed_s=time.monotonic() - self._started,
        )
        for on_progress in self.callbacks:
            on_progress(progress)


def _standard_error(p: float, count: int) -> float:
    return math.sqrt(p * (1.0 - p) / count)


def _better(new: Score, old: Score, enough: float) -> bool:
    """More success, up to what is asked for; among those with enough, the faster."""
    if min(new.success, old.success) >= enough:
        return (new.time_s or math.inf) < (old.time_s or math.inf)
    return (new.success, new.mean_return) > (old.success, old.mean_return)
