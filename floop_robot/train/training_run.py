"""TrainingRun: the loop of acting, learning and selecting."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
import numpy as np

from floop_envs.seeds import Purpose
from floop_robot.bundle import Bundle, Normalization
from floop_robot.learn.algorithm import AlgorithmState
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.learn.mlp import Array
from floop_robot.learn.utd_budget import UtdBudget
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.errors import FloopError
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.train.collector import ActorMessage, AdvanceRequest, Collector, CollectRequest, episode_range
from floop_robot.train.demonstrations import clone_demonstrations, record_demonstrations
from floop_robot.train.evaluator import Evaluator
from floop_robot.train.policy_selector import PolicySelector
from floop_robot.train.run_counters import RecentEpisode, RunCounters
from floop_robot.train.score import Score
from floop_robot.train.take_log import Take, TakeLog
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import TrainingDataSummary
from floop_robot.train.train_progress import TrainProgress
from floop_robot.train.training_episode import EnvDescription, TrainingEpisode
from floop_robot.train.training_state import Arrays, TrainingState, named, part_of, restore_generators

STEPS_PER_REQUEST = 50
"""Steps of an own environment with the same weights, while the gradient steps for those before are taken."""
RECENT_EPISODES = 40
"""Training episodes whose success decides whether a measurement on the selection scenarios is worth its time."""
SHOWN_EPISODES = 100
"""Training episodes that curves are means of, as in stable-baselines3."""


class TrainingDiverged(FloopError):
    """Weights hold NaN or infinity."""


class TrainingHooks(msgspec.Struct, frozen=True):
    """What is called while a run goes on."""

    progress: list[Callable[[TrainProgress], None]] = msgspec.field(default_factory=list)
    collected: list[Callable[[TrainingEpisode], bool]] = msgspec.field(default_factory=list)
    """With each episode, or part of one, that was learned from; False ends the training."""
    measured: list[Callable[[Score, bool], None]] = msgspec.field(default_factory=list)
    """With each score of an evaluation, and whether it is the best so far."""
    boundary: list[Callable[[], None]] = msgspec.field(default_factory=list)
    """Between two requests, where a run may be saved or ended."""


class TrainingRun:
    """One training run; call `demonstrate`, `learn` and `finish` in this order."""

    def __init__(self, config: TrainConfig, description: EnvDescription, collector: Collector, log: TakeLog) -> None:
        self.config, self.description, self._collector, self._log = config, description, collector, log
        self.hooks = TrainingHooks()
        self.task, self.ids, self.space = description.task, description.ids, description.space
        self.algorithm = make_algorithm(
            self.space, config.settings_in_budget, config.seed, config.device, max(config.learning_starts, 1)
        )
        offset, scale = self.task.observation.offset.tolist(), self.task.observation.scale.tolist()
        self._normalization = Normalization(tuple(offset), tuple(scale))
        self.counters = RunCounters(reports_success=description.reports_success)
        self._utd_budget = UtdBudget(math.inf)
        self.recent: deque[RecentEpisode] = deque(maxlen=SHOWN_EPISODES)
        self.summary = TrainingDataSummary(self.task.observation.size)
        self.evaluator = Evaluator(collector)
        self.selector = PolicySelector(config, self.evaluator)
        self.is_between = True
        """Whether nothing is half done, so that the run can be saved and gone on with."""
        self._started, self._started_at = time.monotonic(), 0

    def demonstrate(self) -> None:
        """Let the expert demonstrate, if that is asked for and was not done, and clone what it does."""
        if self.counters.demonstrated:
            return
        demonstrations = record_demonstrations(
            self._collector,
            self.config.demonstrations,
            self.task.id,
            lambda count: self.report_progress("demonstrations", transitions=count),
        )
        if not demonstrations:
            return
        self.is_between = False
        for i, rows in enumerate(demonstrations):
            self._take("demonstrator", rows, (EndedEpisode(i, failed=False),), Source.DEMONSTRATION)
        before = self._copied_arrays()
        clone_demonstrations(self.algorithm.model, self.space, demonstrations, self.config.clone)
        cloned = self._actor()
        if self.config.algo == "sac":
            # A cloned actor before untrained critics is unlearned at once; without training it is the result.
            kept = before if self.config.total_timesteps else self._copied_arrays() | _averaged(self._copied_arrays())
            self.algorithm.restore(kept, 0)
        self.report_progress("behavior cloning")
        self.selector.measure_cloned(cloned)
        self.counters.demonstrated = sum(map(len, demonstrations))
        self.is_between = True

    @property
    def is_over(self) -> bool:
        """Whether the policy is good enough, a callback ended the training, or the steps are used up."""
        return (
            self.counters.is_done
            or self.counters.is_stopped
            or self.counters.transitions >= self.config.total_timesteps
        )

    def learn(self) -> None:
        """Act, learn and select until it is over."""
        while not self.is_over:
            self.is_between = False
            self._request_episodes()  # one request for each answer: what is asked and not received would come later
            self._update()
            version, self.is_between = self.counters.version, True  # if nothing comes, others are asked for later
            episodes = self._collector.receive()
            self.is_between = False
            for episode in episodes:
                self._collected(episode, version)
            self.is_between = True
            self._measure_what_is_due()
            self.report_progress("learning")
            for at_boundary in self.hooks.boundary:
                at_boundary()
        if not self.counters.is_done:  # the latest rows have paid for gradient steps, too
            self.is_between = False
            self._update()
            self.is_between = True
            self.report_progress("learning")

    def finish(self) -> None:
        """Choose the weights that are kept: those that did best on the selection scenarios.

        Save the run before: from here on it holds weights to be measured, not those to go on with.
        """
        self.is_between = False
        if not self.counters.is_done and self.counters.transitions:
            self._select()
            if self.selector.leader is not None:
                self.algorithm.restore(self.selector.leader[1], self.algorithm.progress.gradient_steps)
                self._select()
        if self.selector.best is not None:
            self.algorithm.restore(self.selector.best[1], self.algorithm.progress.gradient_steps)

    def _request_episodes(self) -> None:
        counters = self.counters
        if self.algorithm.progress.gradient_steps != counters.published_steps:
            counters.published_steps = self.algorithm.progress.gradient_steps
            counters.version += 1
            self.algorithm.on_weights_published(counters.version)
        if self.config.env:
            rest = self.config.total_timesteps - counters.transitions
            steps = min(STEPS_PER_REQUEST, -(-rest // self.config.n_envs))
            self._collector.ask(AdvanceRequest(self._actor(), steps))
            return
        count = max(self.config.episodes_per_batch, self.config.n_envs)
        indices = episode_range(counters.next_index, count)
        counters.next_index += count
        self._collector.ask(CollectRequest(self._actor(), Purpose.TRAINING, indices, sample=True))

    def _collected(self, episode: TrainingEpisode, version: int) -> None:
        counters = self.counters
        rows = msgspec.structs.replace(episode.rows, policy_version=np.full(len(episode.rows), version, np.int64))
        counters.transitions += len(rows)
        counters.reports_success |= episode.tells_success
        number = int(rows.episode[0])
        counters.next_index = max(counters.next_index, number + 1)
        ended: tuple[EndedEpisode, ...] = ()
        if episode.is_over:
            counters.episodes += 1
            steps = round(episode.duration_s * self.task.policy_rate_hz)
            self.recent.append(RecentEpisode(episode.success, episode.total_reward, steps))
            ended = (EndedEpisode(number, failed=not episode.success),)
        # Each worker is a stream of its own, so that the rows of an episode stay together.
        worker = f"train-{number % self.config.n_envs}" if self.config.env else "train"
        worth = self._take("explorer", rows, ended, Source.EXPLORER, worker)
        for i, relabelled in enumerate(episode.hindsight):
            self._take(f"hindsight_{i}", relabelled, (), Source.DEMONSTRATION, is_seen=False)
        # The first rows are too few to draw half of every batch from.
        if counters.transitions >= self.config.learning_starts:
            self._utd_budget.add(worth)
        for collected in self.hooks.collected:
            counters.is_stopped |= not collected(episode)

    def _take(
        self,
        robot: str,
        rows: Transitions,
        ended: tuple[EndedEpisode, ...],
        source: Source,
        boot_id: str = "train",
        *,
        is_seen: bool = True,
    ) -> float:
        if is_seen:
            rows.is_new[:] = source is not Source.DEMONSTRATION
        take = Take(robot=robot, boot_id=boot_id, source=source, is_seen=is_seen, ended=ended, rows=rows)
        self._log.append(take)
        return self._feed(take)

    def _feed(self, take: Take) -> float:
        if take.is_seen:
            self.summary.take(take.rows)
        stream = StreamInfo(take.robot, take.boot_id, self.task.id, self.ids, Source(take.source))
        return self.algorithm.take(stream, take.rows, take.ended)

    def _update(self) -> None:
        try:
            while self._utd_budget.owed and self.algorithm.ready:
                self._utd_budget.spend(self.algorithm.update(self._utd_budget.owed))
        except ValueError:  # of torch, for NaN in a distribution
            self._actor()
            raise

    def _measure_what_is_due(self) -> None:
        counters = self.counters
        if self._should_select() and counters.transitions - counters.selected_at >= self.config.select_every:
            counters.selected_at = counters.transitions
            counters.is_done |= self._select()
        elif self.config.env and counters.transitions - counters.evaluated_at >= self.config.evaluation_period:
            counters.evaluated_at = counters.transitions
            self.report_progress("evaluating")
            with self.algorithm.averaged_weights():
                score, leads = self.selector.evaluate(self._actor(), self.algorithm.arrays())
            self._measured(score, leads and self.selector.best is None)

    def _should_select(self) -> bool:
        if not self.counters.reports_success or len(self.recent) < RECENT_EPISODES:
            return False
        # Exploration costs some success; a measurement has none.
        return self._recent_successes() >= RECENT_EPISODES * (self.config.until_success - 0.1)

    def _recent_successes(self) -> int:
        return sum(episode.success for episode in list(self.recent)[-RECENT_EPISODES:])

    def _select(self) -> bool:
        self.report_progress("selecting")
        before = self.selector.best
        done = self.selector.select(
            self.averaged_actor(), self.algorithm.arrays(), reports_success=self.counters.reports_success
        )
        best = self.selector.best
        assert best is not None
        self._measured(best[0], best is not before)
        return done

    def _measured(self, score: Score, is_best: bool) -> None:
        for measured in self.hooks.measured:
            measured(score, is_best)

    def _actor(self) -> ActorMessage:
        architecture, tensors = actor_architecture(self.algorithm.model)
        if not all(np.isfinite(tensor).all() for tensor in tensors.values()) or not self._is_finite():
            raise TrainingDiverged(
                f"training diverged within {self.counters.transitions} steps: weights hold NaN or "
                f"infinity; lower {self.config.algo}.learning_rate or {self.config.algo}.gamma"
            )
        return ActorMessage(architecture, self._normalization, tensors)

    def _is_finite(self) -> bool:
        return all(np.isfinite(array).all() for array in self.algorithm.arrays().values())

    def averaged_actor(self) -> ActorMessage:
        """The policy that a bundle would hold now."""
        with self.algorithm.averaged_weights():
            return self._actor()

    def _copied_arrays(self) -> dict[str, Array]:
        return {name: array.copy() for name, array in self.algorithm.arrays().items()}

    def measure(self, bundle: Bundle) -> Score:
        """Measure a policy, once on the final scenarios."""
        self.report_progress("final scenarios")
        actor = ActorMessage(bundle.manifest.architecture, bundle.manifest.normalization, bundle.arrays())
        return self.evaluator.measure(actor, Purpose.REPORT, episode_range(0, self.config.final_episodes))

    def state(self) -> tuple[TrainingState, Arrays]:
        """Where it stands, and the arrays of it."""
        algorithm, (selector, arrays) = self.algorithm.state(), self.selector.state()
        state = TrainingState(
            config=self.config,
            task=self.task,
            ids=self.ids,
            counters=msgspec.structs.replace(self.counters, elapsed_s=self.elapsed_s),
            gradient_steps=self.algorithm.progress.gradient_steps,
            owed=self._utd_budget.exact,
            rows_bytes=self._log.size,
            recent=tuple(self.recent),
            selector=selector,
            algorithm=algorithm.numbers,
        )
        return state, named("algo", self.algorithm.arrays()) | named("state", algorithm.arrays) | arrays

    def restore(self, state: TrainingState, arrays: Arrays, takes: Iterable[Take]) -> None:
        """Go on from a `state()`, with the rows that were taken in before it."""
        self.algorithm.on_weights_published(state.counters.version)
        for take in takes:
            self._feed(take)
        self.counters = msgspec.structs.replace(state.counters, is_stopped=False)
        self._started_at = state.counters.transitions
        self.recent.extend(state.recent)
        self.selector.restore(state.selector, part_of(arrays, "best"), part_of(arrays, "leader"))
        self.algorithm.restore(part_of(arrays, "algo"), state.gradient_steps)
        self.algorithm.restore_state(AlgorithmState(state.algorithm, part_of(arrays, "state")))
        self._utd_budget = UtdBudget(math.inf)
        self._utd_budget.add(state.owed)
        restore_generators(state, arrays)

    @property
    def elapsed_s(self) -> float:
        """Wall time of the run, with that of the parts before this one."""
        return self.counters.elapsed_s + time.monotonic() - self._started

    def report_progress(self, phase: str, transitions: int | None = None) -> None:
        """Show where the run stands."""
        counters, recent = self.counters, self.recent
        best = self.selector.best[0] if self.selector.best else None
        here_s = time.monotonic() - self._started
        shown = min(len(recent), RECENT_EPISODES)
        progress = TrainProgress(
            phase=phase,
            transitions=counters.transitions if transitions is None else transitions,
            total_timesteps=self.config.total_timesteps,
            gradient_steps=self.algorithm.progress.gradient_steps,
            recent_success=self._recent_successes() / shown if shown and counters.reports_success else math.nan,
            recent_return=float(np.mean([e.total_reward for e in recent])) if recent else math.nan,
            recent_length=float(np.mean([e.steps for e in recent])) if recent else math.nan,
            selection_success=best.success if best and counters.reports_success else math.nan,
            selection_time_s=best.time_s or math.nan if best else math.nan,
            episodes=counters.episodes,
            elapsed_s=self.elapsed_s,
            steps_per_s=(counters.transitions - self._started_at) / max(here_s, 1e-9),
        )
        for on_progress in self.hooks.progress:
            on_progress(progress)


def _averaged(arrays: dict[str, Array]) -> dict[str, Array]:
    """The averaged actor of SAC, where it is the actor itself."""
    return {"average": arrays["actor"]}
