"""ContinuousLearner: learns for as long as data arrives. It knows no sockets and no simulator."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from floop_robot.bundle import Bundle
from floop_robot.core import JournalSource, WeightPublisher
from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo
from floop_robot.learn.export import to_bundle
from floop_robot.learn.fitted_calibration import FittedCalibration
from floop_robot.learn.mlp import Array
from floop_robot.learn.observation_range import ObservationRange
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.learn.utd_budget import LatencyMeter, UtdBudget
from floop_robot.monitor.shift_detector import KnownTasks, ShiftDetector
from floop_robot.replay.packed_episodes import PackedEpisodes
from floop_robot.replay.transition_builder import TransitionBuilder
from floop_robot.replay.transitions import Transitions
from floop_robot.spec.calibration import Offset
from floop_robot.spec.config import LearnerConfig
from floop_robot.spec.errors import BundleRefused, StorageError
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.simulator_fit import fits_of
from floop_robot.spec.task import TaskSpec
from floop_robot.stream.codec import TailBlock

log = logging.getLogger(__name__)

CHUNK = 8
"""Gradient steps between two reads of the journal: some 15 ms, so new rows never wait long."""
MAX_OWED_STEPS = 2_000.0
"""Most gradient steps of arrears, some 3 s; what is beyond is forgotten."""
VERSION_GAP = 1_000
"""A resumed learner skips so many version numbers: those published after its checkpoint must not be used twice."""
REPLAY_ROWS = 200_000
"""Latest rows that a resumed learner reads again to rebuild its replay."""
PRIOR = "shipped"
"""Robot name of the checkpoint's rows of known tasks in replay."""
RECENT_OBSERVATIONS = 64
"""Latest raw observations; a bundle's stored checks are taken from them."""


class ContinuousLearner:
    """Reads rows, updates the model at their pace, publishes live weights, candidates and checkpoints."""

    def __init__(
        self,
        config: LearnerConfig,
        task: TaskSpec,
        ids: Ids,
        algorithm: Algorithm,
        source: JournalSource,
        publisher: WeightPublisher,
        checkpoint_path: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._task, self._ids, self._clock = config, task, ids, clock
        self._algorithm, self._source, self._publisher = algorithm, source, publisher
        self._path = checkpoint_path
        self._known = KnownTasks()
        self._calibration = FittedCalibration()
        self._published_calibration: dict[str, Offset] = {}
        self._builder = TransitionBuilder(task, ids, ShiftDetector(task.observation, self._known))
        self._utd_budget, self._latency = UtdBudget(MAX_OWED_STEPS), LatencyMeter()
        self._observations: deque[Array] = deque(maxlen=RECENT_OBSERVATIONS)
        self._range = ObservationRange(task.observation.size)
        self._blocks: deque[tuple[int, int]] = deque()
        self._read_rows = self._transitions = 0
        self._trained_to = self._rebuilds_to = self._weights_version = self._candidates = 0
        now = clock()
        self._weights_due, self._candidate_due, self._checkpoint_due = now, now + config.candidate_interval_s, now
        self._steps_at = {"weights": -1, "candidate": 0, "checkpoint": 0}
        self._prior: PackedEpisodes = {}
        self._last_good: dict[str, Array] | None = None
        self._last_good_steps = 0
        self._rate: deque[tuple[float, int]] = deque(maxlen=200)

    def start_from(self, checkpoint: Checkpoint, *, resume: bool = False) -> None:
        """Take over a checkpoint's weights; with `resume`, one of this very run (its journal position counts).

        Raises `ContractMismatch` or `CheckpointRefused`. Call before the first `step`; the row source of a resumed
        learner must start at `checkpoint.info.replay_from`.
        """
        checkpoint.require(self._ids, "the fleet")
        info = checkpoint.info
        self._algorithm.restore(checkpoint.arrays, info.gradient_steps)
        self._last_good, self._last_good_steps = dict(checkpoint.arrays), info.gradient_steps
        self._known, self._prior = info.known, checkpoint.prior
        self._take_prior(checkpoint)
        self._builder = TransitionBuilder(self._task, self._ids, ShiftDetector(self._task.observation, info.known))
        self._transitions = info.transitions
        self._steps_at = dict.fromkeys(self._steps_at, info.gradient_steps)
        if resume:
            self._trained_to = self._rebuilds_to = info.trained_to
            # Only of this very fleet: another one may have a robot of the same name.
            self._calibration = FittedCalibration(info.calibration)
            self._published_calibration = dict(info.calibration)
            self._weights_version = info.weights_version + VERSION_GAP
        self._steps_at["weights"] = -1

    def _take_prior(self, checkpoint: Checkpoint) -> None:
        rows = checkpoint.prior_rows(self._task.observation.size, self._task.action.size)
        if rows is not None:
            stream = StreamInfo(PRIOR, PRIOR, self._task.id, self._ids, Source.DEMONSTRATION)
            self._algorithm.take(stream, rows)  # learned from before: pays for nothing

    def step(self, wait_s: float = 0.05) -> int:
        """Take in what has arrived, do at most `CHUNK` gradient steps, publish what is due; returns the steps done.

        Waits up to `wait_s` for rows when no gradient step is owed.
        """
        for found in self._source.poll(0.0 if self._utd_budget.owed and self._algorithm.ready else wait_s):
            self._take(found)
        done = 0
        if self._utd_budget.owed and self._algorithm.ready:
            self._latency.step_begins()
            done = self._algorithm.update(min(CHUNK, self._utd_budget.owed))
            self._utd_budget.spend(done)
            self._rate.append((self._clock(), done))
        self._publish()
        return done

    def _take(self, found: TailBlock) -> None:
        rows, ended = self._builder.build(found.block)
        # Older fits are in the checkpoint, and what came of them.
        if found.block.info.source is Source.FITTER and found.id > self._rebuilds_to:
            self._calibration.take(fits_of(found.block.events))
        self._blocks.append((found.id, len(rows) if rows is not None else 0))
        self._read_rows += self._blocks[-1][1]
        while self._read_rows - self._blocks[0][1] > REPLAY_ROWS:
            self._read_rows -= self._blocks.popleft()[1]
        worth = self._algorithm.take(found.block.info, rows, ended)
        if found.id <= self._trained_to or rows is None:
            return  # read again to rebuild replay; its updates were done before the restart
        self._utd_budget.add(worth)
        self._latency.arrived(rows.stamp_ns)
        self._remember(rows)

    def _remember(self, rows: Transitions) -> None:
        obs = rows.obs
        self._transitions += len(obs)
        self._observations.append(obs[-1])
        self._range.extend(obs)

    def _publish(self) -> None:
        try:
            self._publish_due(self._clock(), self._algorithm.progress.gradient_steps)
        except BundleRefused as error:
            if self._last_good is None:
                raise
            log.warning("%s; going back to the last good weights", error)
            self._algorithm.restore(
                {name: array.copy() for name, array in self._last_good.items()}, self._last_good_steps
            )

    def _publish_due(self, now: float, steps: int) -> None:
        # Another correction is due at once, whatever the weights are.
        is_corrected = self._calibration.corrections != self._published_calibration
        self._published_calibration = dict(self._calibration.corrections)
        if is_corrected or (now >= self._weights_due and steps != self._steps_at["weights"]):
            self._weights_due, self._steps_at["weights"] = now + self._config.weights_interval_s, steps
            self._weights_version += 1
            self._algorithm.on_weights_published(self._weights_version)
            self._publisher.weights(self._weights_version, self.bundle())
        if is_corrected or (now >= self._candidate_due and steps != self._steps_at["candidate"]):
            self._candidate_due, self._steps_at["candidate"] = now + self._config.candidate_interval_s, steps
            self._candidates += 1
            with self._algorithm.averaged_weights():
                self._publisher.candidate(self.bundle())
        if now >= self._checkpoint_due and steps != self._steps_at["checkpoint"]:
            self._checkpoint_due, self._steps_at["checkpoint"] = now + self._config.checkpoint_interval_s, steps
            self.bundle()  # raises when training diverged: such a checkpoint must not be written
            if not all(np.isfinite(array).all() for array in self._algorithm.arrays().values()):
                raise BundleRefused("training diverged: the critics or their optimizers hold NaN or infinity")
            try:
                self.checkpoint()
            except StorageError as error:  # a full disk passes, and what was learned would be lost with the process
                log.warning("%s; learning goes on", error)
            self._last_good = {name: array.copy() for name, array in self._algorithm.arrays().items()}
            self._last_good_steps = steps

    def bundle(self) -> Bundle:
        """The actor and the corrections as they are now; raises `BundleRefused` when training diverged (NaN)."""
        observations = np.array(self._observations) if self._observations else self._task.observation.offset[None]
        data = self._range.data_range(self._transitions, self._source.position)
        bundle = to_bundle(
            self._algorithm.model,
            self._task,
            self._ids,
            observations,
            data=data,
            settings=self._algorithm.settings,
        )
        return bundle.with_calibration(self._calibration.corrections)

    def checkpoint(self) -> None:
        """Write a checkpoint; raises `StorageError` when the disk won't take it."""
        self.snapshot().save(self._path, keep_previous=True)

    def snapshot(self) -> Checkpoint:
        """Everything needed to resume, replay apart."""
        info = CheckpointInfo(
            task=self._task.id,
            ids=self._ids,
            algo=self._algorithm.algo,
            hidden=self._algorithm.hidden,
            gradient_steps=self._algorithm.progress.gradient_steps,
            transitions=self._transitions,
            weights_version=self._weights_version,
            known=self._known,
            replay_from=self._blocks[0][0] - 1 if self._blocks else 0,
            trained_to=self._source.position,
            journal_id=self._source.journal_id,
            calibration=self._calibration.corrections,
            settings=msgspec.to_builtins(self._algorithm.settings),
        )
        return Checkpoint(info, self._algorithm.arrays(), self._prior)

    @property
    def status(self) -> LearnerStatus:
        """How the learner is doing, as far as it knows; its process knows of pauses and files."""
        p50, p99 = self._latency.percentiles
        state = LearnerState.LEARNING if self._utd_budget.owed else LearnerState.WAITING
        rows = msgspec.structs.asdict(self._builder.counts)
        return LearnerStatus(
            state=LearnerState.STARTING if self._source.position < self._rebuilds_to else state,
            algo=self._config.algo,
            task=self._task.id,
            steps_per_s=self._steps_per_s(),
            updates_per_transition=self._algorithm.settings.utd_ratio,
            owed=self._utd_budget.owed,
            journal_block=self._source.position,
            latency_p50_s=p50,
            latency_p99_s=p99,
            latency_implausible=self._latency.implausible,
            weights_version=self._weights_version,
            candidates=self._candidates,
            **{f"{name}_rows": count for name, count in rows.items()},
            **msgspec.structs.asdict(self._algorithm.progress),
        )

    def _steps_per_s(self) -> float:
        if len(self._rate) < 2:
            return 0.0
        span = max(self._clock() - self._rate[0][0], 1e-6)
        return sum(done for _, done in self._rate) / span
