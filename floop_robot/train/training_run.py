"""TrainingRun: the loop of acting, learning and selecting."""

from __future__ import annotations

import math
import time
from collections import deque
from pathlib import Path

import msgspec
import numpy as np

from floop_envs.seeds import Purpose
from floop_robot.bundle import Normalization
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.learn.utd_budget import UtdBudget
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.train.collector import (
    ActorMessage,
    AdvanceRequest,
    Collector,
    CollectRequest,
    episode_range,
    success_count,
)
from floop_robot.train.demonstrations import clone_demonstrations, record_demonstrations
from floop_robot.train.evaluator import Evaluator
from floop_robot.train.policy_selector import PolicySelector
from floop_robot.train.score import Score
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import PolicyWriter, TrainingDataSummary, TrainResult, save_result
from floop_robot.train.train_progress import ProgressCallback, TrainProgress
from floop_robot.train.training_episode import EnvDescription, TrainingEpisode

STEPS_PER_REQUEST = 50
"""Steps of an own environment with the same weights, while the gradient steps for those before are taken."""
RECENT_EPISODES = 40
"""Training episodes whose success decides whether a measurement on the selection scenarios is worth its time."""


class FinalScores(msgspec.Struct, frozen=True):
    """What came of a run."""

    policy: Score
    """On the final scenarios."""
    cloned: Score | None
    """Of the policy that was cloned from demonstrations, where there were any, on the selection scenarios."""


class TrainingRun:
    """One training run; call `demonstrate`, `learn`, `measure` and `write` in this order."""

    def __init__(
        self,
        config: TrainConfig,
        description: EnvDescription,
        collector: Collector,
        on_progress: ProgressCallback,
        started: float,
    ) -> None:
        self.config, self._collector, self._started = config, collector, started
        self.callbacks = [on_progress]
        self.task, self.ids, self.space = description.task, description.ids, description.space
        self.reports_success = description.reports_success
        self.algorithm = make_algorithm(self.space, config.settings, config.seed, config.device)
        offset, scale = self.task.observation.offset.tolist(), self.task.observation.scale.tolist()
        self._normalization = Normalization(tuple(offset), tuple(scale))
        self.transitions = self.demonstrated = self._next_index = 0
        self._version = self._published_steps = 0
        self._utd_budget = UtdBudget(math.inf)
        self._recent: deque[TrainingEpisode] = deque(maxlen=RECENT_EPISODES)
        self._data_summary = TrainingDataSummary(self.task.observation.size)
        self._evaluator = Evaluator(collector)
        self._selector = PolicySelector(config, self._evaluator)

    def demonstrate(self) -> None:
        """Let the expert demonstrate, if that is asked for, and clone what it does."""
        demonstrations = record_demonstrations(
            self._collector,
            self.config.demonstrations,
            self.task.id,
            lambda count: self._report_progress("demonstrations", transitions=count),
        )
        if not demonstrations:
            return
        for i, rows in enumerate(demonstrations):
            self._take("demonstrator", rows, (EndedEpisode(i, failed=False),), Source.DEMONSTRATION)
        self.demonstrated = sum(map(len, demonstrations))
        before = {name: array.copy() for name, array in self.algorithm.arrays().items()}
        clone_demonstrations(self.algorithm.model, self.space, demonstrations, self.config.clone)
        cloned = self._actor()
        if self.config.algo == "sac":  # a cloned actor before untrained critics is unlearned at once
            self.algorithm.restore(before, 0)
        self._report_progress("behavior cloning")
        self._selector.measure_cloned(cloned)

    def learn(self) -> None:
        """Act, learn and select until the policy is good enough or the data is used up; keep the best weights."""
        config = self.config
        selected_at = 0
        while self.transitions < config.total_timesteps:
            self._request_episodes()  # one request for each answer: what is asked and not received would come later
            self._update()
            version = self._version
            for episode in self._collector.receive():
                self._collected(episode, version)
            is_due = self._should_measure() and self.transitions - selected_at >= config.select_every
            if is_due or self.transitions >= config.total_timesteps:
                selected_at = self.transitions
                if self._select():
                    break
            self._report_progress("learning")
        if self._selector.best is not None:
            self.algorithm.restore(self._selector.best[1], self.algorithm.progress.gradient_steps)

    def _request_episodes(self) -> None:
        if self.algorithm.progress.gradient_steps != self._published_steps:
            self._published_steps = self.algorithm.progress.gradient_steps
            self._version += 1
            self.algorithm.on_weights_published(self._version)
        if self.config.env:
            steps = min(STEPS_PER_REQUEST, self.config.total_timesteps - self.transitions)
            self._collector.ask(AdvanceRequest(self._actor(), steps))
            return
        count = self.config.episodes_per_batch
        indices = episode_range(self._next_index, count)
        self._next_index += count
        self._collector.ask(CollectRequest(self._actor(), Purpose.TRAINING, indices, sample=True))

    def _collected(self, episode: TrainingEpisode, version: int) -> None:
        rows = msgspec.structs.replace(episode.rows, policy_version=np.full(len(episode.rows), version, np.int64))
        self.transitions += len(rows)
        self.reports_success |= episode.tells_success
        ended: tuple[EndedEpisode, ...] = ()
        if episode.is_over:
            self._recent.append(episode)
            ended = (EndedEpisode(int(rows.episode[0]), failed=not episode.success),)
        worth = self._take("explorer", rows, ended, Source.EXPLORER)
        for i, relabelled in enumerate(episode.hindsight):
            self.algorithm.take(self._stream(f"hindsight_{i}", Source.DEMONSTRATION), relabelled)
        # The first rows are too few to draw half of every batch from.
        if self.transitions >= self.config.learning_starts:
            self._utd_budget.add(worth)

    def _stream(self, robot: str, source: Source) -> StreamInfo:
        return StreamInfo(robot, "train", self.task.id, self.ids, source)

    def _take(self, robot: str, rows: Transitions, ended: tuple[EndedEpisode, ...], source: Source) -> float:
        self._data_summary.take(rows)
        rows.is_new[:] = source is not Source.DEMONSTRATION
        return self.algorithm.take(self._stream(robot, source), rows, ended)

    def _update(self) -> None:
        while self._utd_budget.owed and self.algorithm.ready:
            self._utd_budget.spend(self.algorithm.update(self._utd_budget.owed))

    def _should_measure(self) -> bool:
        if not self.reports_success or len(self._recent) < RECENT_EPISODES:
            return False
        # Exploration costs some success; a measurement has none.
        return success_count(self._recent) >= RECENT_EPISODES * (self.config.until_success - 0.1)

    def _select(self) -> bool:
        self._report_progress("selecting")
        actor = self._averaged_actor()
        return self._selector.select(actor, self.algorithm.arrays(), reports_success=self.reports_success)

    def _actor(self) -> ActorMessage:
        architecture, tensors = actor_architecture(self.algorithm.model)
        return ActorMessage(architecture, self._normalization, tensors)

    def _averaged_actor(self) -> ActorMessage:
        with self.algorithm.averaged_weights():
            return self._actor()

    def measure(self) -> FinalScores:
        """Measure the policy that is kept, once on the final scenarios.

        The cloned one was not selected, so its figure of the selection scenarios is honest already.
        """
        self._report_progress("final scenarios")
        indices = episode_range(0, self.config.final_episodes)
        score = self._evaluator.measure(self._averaged_actor(), Purpose.REPORT, indices)
        return FinalScores(score, self._selector.cloned)

    def write(self, out: Path, final: FinalScores) -> TrainResult:
        """Write policy, checkpoint and result."""
        config, score, cloned = self.config, final.policy, final.cloned
        writer = PolicyWriter(
            task=self.task, ids=self.ids, space=self.space, prior_rows=config.prior_rows, seed=config.seed
        )  # fmt: skip
        paths = writer.write(out, self.algorithm, self._data_summary, self.transitions + self.demonstrated)
        best = self._selector.best
        result = TrainResult(
            success=score.success if self.reports_success else None,
            mean_pick_time_s=score.time_s if self.reports_success else None,
            bc_success=cloned.success if cloned else None,
            bc_pick_time_s=cloned.time_s if cloned else None,
            mean_return=score.mean_return,
            selection_success=best[0].success if best and self.reports_success else None,
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
        recent, best = self._recent, self._selector.best[0] if self._selector.best else None
        progress = TrainProgress(
            phase=phase,
            transitions=self.transitions if transitions is None else transitions,
            total_timesteps=self.config.total_timesteps,
            gradient_steps=self.algorithm.progress.gradient_steps,
            recent_success=success_count(recent) / len(recent) if recent and self.reports_success else math.nan,
            recent_return=float(np.mean([e.total_reward for e in recent])) if recent else math.nan,
            selection_success=best.success if best else math.nan,
            selection_time_s=best.time_s or math.nan if best else math.nan,
            elapsed_s=time.monotonic() - self._started,
        )
        for on_progress in self.callbacks:
            on_progress(progress)
