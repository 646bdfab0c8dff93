"""TransitionBuilder marks rows of new tasks by what robots perceived and reported, and leaves foreign rows out."""

import msgspec
import numpy as np
import pytest

from floop_robot.monitor.outcome_history import MIN_FAILURES
from floop_robot.monitor.shift_detector import KnownClass, KnownTasks, ShiftDetector
from floop_robot.replay.transition_builder import TransitionBuilder
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import (
    ActMode,
    EpisodeEnd,
    Label,
    ObjectReport,
    OutcomeCode,
    Record,
    Source,
    StreamInfo,
    Transition,
)
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import Block, decode_block, encode_block

TASK = get_task("floop/Pick-v0").spec
IDS = Ids("contract", "limits", "reward")
SIZE_M = (0.05, 0.05, 0.05)
KNOWN = KnownTasks((KnownClass("box", SIZE_M, SIZE_M),))
STEPS = 3


def builder() -> TransitionBuilder:
    return TransitionBuilder(TASK, IDS, ShiftDetector(TASK.observation, KNOWN))


def block(
    number: int = 0,
    object_class: str = "box",
    *,
    source: Source = Source.ROBOT,
    ids: Ids = IDS,
    outcome: OutcomeCode = OutcomeCode.SUCCESS,
    labels: tuple[Label, ...] = (),
) -> Block:
    """One episode of `STEPS` rows, through the real codec."""
    obs = TASK.observation.offset.astype(np.float32).copy()
    slices = TASK.observation.slices
    obs[slices["object_class"]] = 0.0
    obs[slices["object_class"].start + OBJECT_CLASSES.index(object_class)] = 1.0
    obs[slices["object_size"]] = 0.05
    action = np.zeros(TASK.action.size, np.float32)
    records: list[Record] = [
        Transition(
            seq=0, episode=number, step=i, stamp_ns=1, policy_version=1, act_mode=ActMode.MEAN, obs=obs,
            action_requested=action, action=action, log_prob=float("nan"), reward=0.0, terminated=False,
            truncated=i == STEPS - 1, interventions=0,
        )
        for i in range(STEPS)
    ]  # fmt: skip
    end = EpisodeEnd(
        seq=0, episode=number, stamp_ns=1, policy_version=1, act_mode=ActMode.MEAN, steps=STEPS, duration_s=1.0,
        total_reward=0.0, outcome=outcome, final_obs=obs,
        object=ObjectReport(object_class, SIZE_M, (0.5, 0.0, 0.0), 0.0),
    )  # fmt: skip
    info = StreamInfo("robot_1", "boot", TASK.id, ids, source)
    return decode_block(encode_block(info, 0, [*records, end, *labels]))


def new_rows(rows: Transitions | None) -> list[bool]:
    assert rows is not None
    return sorted(set(rows.is_new.tolist()))


def test_rows_of_a_known_class_are_known_and_of_another_new() -> None:
    made = builder()
    rows, ended = made.build(block(0))
    assert new_rows(rows) == [False]
    assert ended == (EndedEpisode(0, failed=False, object_class="box"),)
    rows, ended = made.build(block(1, "basket", outcome=OutcomeCode.TIMEOUT))
    assert new_rows(rows) == [True]
    assert ended == (EndedEpisode(1, failed=True, object_class="basket"),)


def test_a_demonstration_is_never_new() -> None:
    assert new_rows(builder().build(block(0, "basket", source=Source.DEMONSTRATION))[0]) == [False]


def test_rows_of_a_known_class_are_new_while_robots_fail_at_it() -> None:
    made = builder()
    for number in range(MIN_FAILURES):
        made.build(block(number, source=Source.EXPLORER, outcome=OutcomeCode.TIMEOUT))
    assert new_rows(made.build(block(50))[0]) == [False], "explorers may fail"
    for number in range(100, 100 + MIN_FAILURES):
        made.build(block(number, outcome=OutcomeCode.TIMEOUT))
    assert new_rows(made.build(block(200))[0]) == [True]


def test_a_label_corrects_what_a_robot_reported() -> None:
    made = builder()
    labels = tuple(
        Label(seq=0, stamp_ns=1, episode_boot_id="boot", episode=i, success=False, author="a")
        for i in range(MIN_FAILURES)
    )
    for number in range(MIN_FAILURES):
        made.build(block(number))
    made.build(block(MIN_FAILURES, labels=labels))
    assert new_rows(made.build(block(MIN_FAILURES + 1))[0]) == [True]


def test_an_aborted_episode_has_rows_but_no_outcome() -> None:
    rows, ended = builder().build(block(outcome=OutcomeCode.ABORTED))
    assert rows is not None and len(rows) == STEPS
    assert ended == ()


@pytest.mark.parametrize("ids", [Ids("other", "limits", "reward"), Ids("contract", "limits", "other")])
def test_rows_of_another_contract_or_reward_are_counted_and_left_out(ids: Ids) -> None:
    made = builder()
    assert made.build(block(ids=ids)) == (None, ())
    assert (made.counts.foreign, made.counts.robot) == (STEPS, 0)


def test_other_limits_leave_rows_comparable() -> None:
    made = builder()
    rows, _ = made.build(block(ids=Ids("contract", "tighter", "reward")))
    assert rows is not None and made.counts.robot == STEPS


def test_rows_of_another_shape_are_counted_and_left_out() -> None:
    made = builder()
    whole, size = block(), TASK.observation.size
    narrow = {**whole.columns, "obs": whole.columns["obs"][: 4 * STEPS * (size - 1)]}
    assert made.build(msgspec.structs.replace(whole, columns=narrow)) == (None, ())
    assert made.counts.foreign == STEPS


def test_rows_are_counted_by_source() -> None:
    made = builder()
    for source in (Source.ROBOT, Source.EXPLORER, Source.EXPLORER, Source.DEMONSTRATION):
        made.build(block(source=source))
    counts = made.counts
    assert (counts.robot, counts.explorer, counts.demonstration) == (STEPS, 2 * STEPS, STEPS)
    assert (counts.foreign, counts.dropped) == (0, 0)


def test_a_sensors_glitch_is_left_out_and_its_neighbours_are_not() -> None:
    made, sound = builder(), block(1)
    records = sound.records()
    bad = records[1]
    assert isinstance(bad, Transition)
    records[1] = msgspec.structs.replace(bad, obs=np.full_like(bad.obs, 3e38))
    rows, _ = made.build(decode_block(encode_block(sound.info, 0, records)))
    assert rows is not None and len(rows) == 1  # the last; the first has lost its successor
    assert np.abs(rows.obs).max() < 100 and np.abs(rows.next_obs).max() < 100
    assert made.counts.foreign == 1 and made.counts.dropped == 1
