"""The continuous learner: paced by data, publishes, resumes from checkpoint and journal, goes back when it diverges."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from floop_robot.bundle import Bundle
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.learn.learner import ContinuousLearner
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.utd_budget import LatencyMeter
from floop_robot.replay.sac_batch import SacBatch
from floop_robot.spec.config import LearnerConfig
from floop_robot.spec.default_settings import TASK_SAC
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.spec.ids import Ids, ids_of
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import (
    ActMode,
    EpisodeEnd,
    ObjectReport,
    OutcomeCode,
    Record,
    Source,
    StreamInfo,
    Transition,
)
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.simulator_fit import SimulatorFit, fit_event
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block, TailBlock, decode_block, encode_block
from tests.support.sample_fits import calibration_fit

RULES = get_task("floop/Pick-v0")
TASK, IDS = RULES.spec, ids_of(RULES, load_robot("panda"))
HOUR_NS = 3_600_000_000_000
SETTINGS = SacSettings(net_arch=(16, 16), batch_size=32, utd_ratio=1.0, utd_ratio_known=0.5).over(TASK_SAC)


class Journal:
    """An in-memory journal that is read like the real one; every block passes the real codec."""

    journal_id = "journal"

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.position = 0

    def poll(self, timeout_s: float) -> list[TailBlock]:
        new = [TailBlock(i + 1, block) for i, block in enumerate(self.blocks) if i + 1 > self.position]
        self.position = len(self.blocks)
        return new

    def add(self, info: StreamInfo, records: list[Record]) -> None:
        self.blocks.append(decode_block(encode_block(info, 0, records)))


class RecordingPublisher:
    """A publisher that records what it is given."""

    def __init__(self) -> None:
        self.live: list[tuple[int, Bundle]] = []
        self.candidates: list[Bundle] = []

    def weights(self, version: int, bundle: Bundle) -> None:
        self.live.append((version, bundle))

    def candidate(self, bundle: Bundle) -> None:
        self.candidates.append(bundle)


def stream(robot: str = "robot_1", source: Source = Source.ROBOT, ids: Ids = IDS) -> StreamInfo:
    return StreamInfo(robot, "boot", TASK.id, ids, source)


def observation(rng: np.random.Generator, object_class: str) -> Vector:
    layout = TASK.observation
    obs = (layout.offset + layout.scale * 0.3 * rng.standard_normal(layout.size)).astype(np.float32)
    obs[layout.slices["object_class"]] = 0.0
    obs[layout.slices["object_class"].start + OBJECT_CLASSES.index(object_class)] = 1.0
    obs[layout.slices["object_size"]] = 0.05
    return np.clip(obs, layout.low, layout.high)


def episode(number: int, steps: int = 40, object_class: str = "box", success: bool = True) -> list[Record]:
    rng = np.random.default_rng(number)
    rows: list[Record] = [
        Transition(
            seq=0, episode=number, step=i, stamp_ns=time.time_ns(), policy_version=1, act_mode=ActMode.MEAN,
            obs=observation(rng, object_class), action_requested=np.zeros(5, np.float32),
            action=rng.uniform(-1, 1, 5).astype(np.float32), log_prob=float("nan"), reward=float(rng.normal()),
            terminated=False, truncated=i == steps - 1, interventions=0,
        )
        for i in range(steps)
    ]  # fmt: skip
    end = EpisodeEnd(
        seq=0, episode=number, stamp_ns=time.time_ns(), policy_version=1, act_mode=ActMode.MEAN, steps=steps,
        duration_s=1.0, total_reward=0.0, outcome=OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
        final_obs=observation(rng, object_class),
        object=ObjectReport(object_class, (0.05, 0.05, 0.05), (0.5, 0.0, 0.0), 0.0),
    )  # fmt: skip
    return [*rows, end]


class LearnerRig:
    """A learner on an in-memory journal with a clock of its own."""

    def __init__(self, folder: Path, journal: Journal | None = None, **config: float) -> None:
        self.now = 100.0
        self.journal, self.publisher = journal or Journal(), RecordingPublisher()
        self.algorithm = SacAlgorithm(PolicySpace.of(TASK), SETTINGS, 0)
        self.path = folder / "checkpoint.learner"
        clock: Callable[[], float] = lambda: self.now  # noqa: E731 - a clock that the test sets
        self.learner = ContinuousLearner(
            LearnerConfig(**config),  # type: ignore[arg-type]
            TASK, IDS, self.algorithm, self.journal, self.publisher, self.path, clock,
        )  # fmt: skip

    def settle(self) -> int:
        """Step until nothing is owed; returns the gradient steps done."""
        done = self.learner.step(0.0)
        while (more := self.learner.step(0.0)) > 0:
            done += more
        return done

    @property
    def actor(self) -> np.ndarray:
        return self.algorithm.model.numpy_parameters().actor.params


def test_arriving_rows_pay_for_updates_and_nothing_else_does(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path)
    assert rig.settle() == 0
    for i in range(10):
        rig.journal.add(stream(), episode(i))
    assert rig.settle() == 10 * 40 * 0.5  # known tasks, as no others are known
    assert rig.settle() == 0
    rig.learner.step(0.0)
    status = rig.learner.status
    assert (status.robot_rows, status.explorer_rows, status.foreign_rows, status.dropped_rows) == (400, 0, 0, 0)


def test_new_tasks_are_recognized_by_what_was_perceived(tmp_path: Path) -> None:
    known = LearnerRig(tmp_path)
    for i in range(10):
        known.journal.add(stream(), episode(i))
    known.settle()
    checkpoint = known.learner.snapshot()
    from floop_robot.monitor.shift_detector import KnownTasks

    obs = np.array([r.obs for r in episode(0) if isinstance(r, Transition)])
    info = msgspec.structs.replace(checkpoint.info, known=KnownTasks.of(TASK.observation, obs))
    rig = LearnerRig(tmp_path)
    rig.learner.start_from(Checkpoint(info, checkpoint.arrays))
    for i in range(10):
        rig.journal.add(stream(), episode(i, object_class="box" if i < 5 else "basket"))
    assert rig.settle() == 5 * 40 * 0.5 + 5 * 40 * 1.0
    progress = rig.learner.status
    assert (progress.prior_rows, progress.new_rows) == (200, 200)


def test_a_known_task_that_robots_fail_at_counts_as_new(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path)
    for i in range(8):  # explorers may fail
        rig.journal.add(stream("explorer_1", Source.EXPLORER), episode(i, success=False))
    rig.settle()
    assert rig.learner.status.new_rows == 0
    for i in range(8):
        rig.journal.add(stream(), episode(i, success=False))
    rig.settle()
    assert rig.learner.status.new_rows == 6 * 40  # from the third failure on


def test_rows_of_another_contract_are_counted_not_learned_from(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path)
    rig.journal.add(stream(ids=Ids("other", IDS.limits, IDS.reward)), episode(0))
    rig.journal.add(stream(ids=Ids(IDS.contract, IDS.limits, "other")), episode(1))
    rig.settle()
    assert rig.learner.status.foreign_rows == 80
    assert rig.learner.status.prior_rows == 0


def test_live_weights_candidates_and_checkpoints_come_when_due(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path, weights_interval_s=1.0, candidate_interval_s=3.0, checkpoint_interval_s=5.0)
    rig.learner.step(0.0)
    assert [version for version, _ in rig.publisher.live] == [1], "explorers need weights before the first row"
    for second in range(12):
        rig.now += 1.0
        for i in range(10):
            rig.journal.add(stream(), episode(second * 10 + i, steps=5))
        rig.settle()
    versions = [version for version, _ in rig.publisher.live]
    assert versions == sorted(set(versions))
    assert 5 <= len(versions) <= 13
    assert 1 <= len(rig.publisher.candidates) <= 4
    assert rig.path.exists()
    bundle = rig.publisher.candidates[-1]
    bundle.checked_actor()
    assert bundle.manifest.data.transitions > 256
    assert bundle.manifest.data.journal_to > 0


def test_a_disk_that_takes_no_checkpoint_does_not_end_learning(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path, checkpoint_interval_s=1.0)
    rig.path.mkdir()  # nothing can replace a folder
    for i in range(20):
        rig.now += 2.0
        rig.journal.add(stream(), episode(i))
        rig.settle()
    assert rig.learner.status.gradient_steps > 0
    rig.path.rmdir()
    rig.now += 2.0
    rig.journal.add(stream(), episode(99))
    rig.settle()
    assert Checkpoint.load(rig.path).info.gradient_steps > 0


def test_a_resumed_learner_goes_on_with_replay_rebuilt_and_pays_no_row_twice(tmp_path: Path) -> None:
    first = LearnerRig(tmp_path)
    for i in range(10):
        first.journal.add(stream(), episode(i))
    first.settle()
    first.learner.checkpoint()
    steps, size, weights = (
        first.learner.status.gradient_steps,
        first.algorithm.replay.size(),
        first.actor.copy(),
    )

    journal = Journal()
    journal.blocks = list(first.journal.blocks)
    second = LearnerRig(tmp_path, journal)
    checkpoint = Checkpoint.load(first.path)
    second.learner.start_from(checkpoint, resume=True)
    journal.position = checkpoint.info.replay_from
    assert (second.actor == weights).all()
    assert second.settle() == 0
    assert second.algorithm.replay.size() == size
    assert second.learner.status.gradient_steps == steps
    journal.add(stream(), episode(99))
    assert second.settle() == 20
    assert second.publisher.live[0][0] > 1000, "versions of live weights are never used twice"


def test_divergence_is_undone(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path, checkpoint_interval_s=1.0, weights_interval_s=1.0)
    for i in range(10):
        rig.journal.add(stream(), episode(i))
    rig.settle()
    rig.now += 2.0
    rig.journal.add(stream(), episode(10))
    rig.settle()  # writes a checkpoint
    good = Checkpoint.load(rig.path)
    rig.now += 2.0
    rig.journal.add(stream(), episode(11))
    rig.actor[:] = np.nan
    rig.settle()
    assert np.isfinite(rig.actor).all()
    assert np.isfinite(Checkpoint.load(rig.path).arrays["actor"]).all()
    assert Checkpoint.load(rig.path).info.gradient_steps >= good.info.gradient_steps


def test_its_pace_and_the_age_of_rows_at_their_first_update_are_measured(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path)
    for i in range(10):
        rig.journal.add(stream(), episode(i))
    done = rig.settle()
    rig.now += 2.0
    status = rig.learner.status
    assert 0.0 < status.latency_p50_s <= status.latency_p99_s < 60.0
    assert status.steps_per_s == done / 2.0 > 0.0 and status.latency_implausible == 0


def test_rows_from_the_future_are_counted_and_left_out() -> None:
    meter = LatencyMeter()
    now = time.time_ns()
    meter.arrived(np.array([now, now + HOUR_NS, now + 2 * HOUR_NS]))
    meter.step_begins()
    assert meter.implausible == 2
    assert 0.0 <= meter.percentiles[0] <= meter.percentiles[1] < 60.0


def test_rows_that_a_spool_held_for_hours_count_as_late() -> None:
    now = time.time_ns()
    meter = LatencyMeter(since_ns=now - 4 * HOUR_NS)
    meter.arrived(np.full(1000, now - 2 * HOUR_NS))
    meter.step_begins()
    assert meter.implausible == 0
    assert min(meter.percentiles) >= 2 * 3600.0


def test_a_checkpoint_of_another_contract_is_refused(tmp_path: Path) -> None:
    from floop_robot.spec.errors import ContractMismatch

    rig = LearnerRig(tmp_path)
    snapshot = rig.learner.snapshot()
    info = msgspec.structs.replace(snapshot.info, ids=Ids("other", IDS.limits, IDS.reward))
    with pytest.raises(ContractMismatch, match="other"):
        rig.learner.start_from(Checkpoint(info, snapshot.arrays))


def test_an_aborted_episode_is_nobodys_success(tmp_path: Path) -> None:
    rig = LearnerRig(tmp_path)
    *rows, end = episode(2)
    aborted = [*rows, msgspec.structs.replace(end, outcome=OutcomeCode.ABORTED)]
    for records in (episode(1), aborted, episode(3, success=False)):
        rig.journal.add(stream(), records)
    rig.settle()
    batch = SacBatch(1000, TASK.observation.size, TASK.action.size)
    rig.algorithm.replay.fill(batch, 0.9)

    def drawn_of(records: list[Record]) -> NDArray[np.bool_]:
        rewards = np.array([r.reward for r in records if isinstance(r, Transition)], np.float32)
        return np.isin(batch.reward, rewards * np.float32(SETTINGS.reward_scale))

    of_episode = [drawn_of(records) for records in (episode(1), aborted, episode(3))]
    assert [int(drawn.sum()) > 50 for drawn in of_episode] == [True] * 3
    assert [set(batch.success[drawn].tolist()) for drawn in of_episode] == [{1.0}, {0.0}, {0.0}]


def report_fit(rig: LearnerRig, fit: SimulatorFit, source: Source = Source.FITTER) -> None:
    rig.journal.add(stream("fitter", source), [fit_event(fit, 0)])
    rig.learner.step(0.0)


def test_a_robot_whose_camera_is_off_makes_a_candidate_due_at_once(tmp_path: Path) -> None:
    """Without a gradient step, long before the next candidate is due: the same weights, with a correction."""
    rig = LearnerRig(tmp_path, candidate_interval_s=100.0)
    offset = (0.03, -0.026, 0.0)
    report_fit(rig, calibration_fit("robot_3", offset), source=Source.ROBOT)
    assert not rig.publisher.candidates, "only a fitter may say so"
    report_fit(rig, calibration_fit("robot_3", offset))
    (candidate,) = rig.publisher.candidates
    assert candidate.manifest.calibration == {"robot_3": pytest.approx(offset)}
    report_fit(rig, calibration_fit("robot_3", offset, seed=1))
    assert len(rig.publisher.candidates) == 1, "nothing new"
    assert rig.publisher.live[-1][1].manifest.calibration == candidate.manifest.calibration, "explorers see likewise"
    again = LearnerRig(tmp_path)
    again.learner.start_from(rig.learner.snapshot(), resume=True)
    again.learner.step(0.0)
    assert again.learner.bundle().manifest.calibration == candidate.manifest.calibration
    elsewhere = LearnerRig(tmp_path)
    elsewhere.learner.start_from(rig.learner.snapshot())
    assert not elsewhere.learner.bundle().manifest.calibration, "another fleet has a robot_3 of its own"
    assert not again.publisher.candidates, "it was offered before the restart"
