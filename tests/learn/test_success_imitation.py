"""PPO in a fleet imitates what succeeded at new tasks, and keeps known tasks as they were."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch as th

from floop_robot.learn.mlp import Array
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.success_imitation import ENOUGH, FAILURE_ROWS, LATEST, MANY_TRIES, ROWS, Episodes
from floop_robot.replay.transitions import EndedEpisode, Transitions
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.records import Source
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task
from tests.learn.test_ppo import ACT, OBS, SPACE, rows_of, stream

STEPS = 256
PICK = PolicySpace.of(get_task("floop/Pick-v0").spec)


def algorithm(ratio: float = 1.0) -> PpoAlgorithm:
    settings = PpoSettings(n_steps=STEPS, batch_size=64, imitation_utd_ratio=ratio, imitation_learning_rate=3e-3)
    return PpoAlgorithm(SPACE, settings, 0)


def episode(number: int, action: float, rows: int = 64, *, sampled: bool, obs: float = 1.0) -> Transitions:
    """Rows of a new task whose action is the same everywhere, near one normalized observation."""
    made, layout = rows_of(rows, seed=number), SPACE.observation
    near = np.random.default_rng(number).normal(obs, 0.1, (rows, OBS)).astype(np.float32)
    return msgspec.structs.replace(
        made,
        obs=layout.offset + layout.scale * near,
        action=np.full((rows, ACT), action, np.float32),
        is_new=np.ones(rows, np.bool_),
        log_prob=np.full(rows, -1.0 if sampled else np.nan, np.float32),
    )


def act(made: PpoAlgorithm, obs: float) -> Array:
    actions, _ = made.model.predict(np.full((1, OBS), obs, np.float32), deterministic=True)
    return np.asarray(actions[0], np.float32)


def feed(
    made: PpoAlgorithm,
    action: float,
    count: int,
    *,
    sampled: bool,
    failed: bool = False,
    first: int = 0,
    obs: float = 1.0,
    name: str = "basket",
    way: float = 0.0,
    everywhere: bool = True,
) -> None:
    for number in range(first, first + count):
        rows = episode(number, action, sampled=sampled, obs=obs)
        made.take(stream(), rows, (EndedEpisode(number, failed, name, () if sampled else (way,), everywhere),))


def learn(made: PpoAlgorithm, rounds: int = 4) -> None:
    for i in range(rounds):
        # pays for gradient steps
        feed(made, 0.0, STEPS // 64, sampled=False, failed=True, first=1000 * (i + 1), way=1000.0 + i)
        assert made.update(1) > 0


def test_successful_tries_are_imitated_and_failures_are_not() -> None:
    made = algorithm()
    feed(made, 0.7, ENOUGH, sampled=False)
    feed(made, -0.9, 4, sampled=False, failed=True, first=100)
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)


def test_nothing_is_imitated_before_the_first_success_or_where_it_is_off() -> None:
    made = algorithm()
    feed(made, 0.7, 8, sampled=False, failed=True)
    assert not made.ready
    assert made.update(100) == 0
    plain = algorithm(0.0)
    feed(plain, 0.7, 8, sampled=False)
    assert not plain.ready


def test_rows_that_ppo_itself_learns_from_are_not_imitated() -> None:
    made = algorithm()
    feed(made, 0.7, 2, sampled=True)
    assert not made.ready
    feed(made, -0.7, ENOUGH, sampled=False, first=100)
    learn(made)
    assert act(made, 1.0) == pytest.approx(-0.7, abs=0.1)


def test_known_tasks_are_kept() -> None:
    made = algorithm()
    before = act(made, -2.0)
    made.take(stream("shipped", Source.DEMONSTRATION), known(9, obs=-2.0))
    feed(made, 0.7, ENOUGH, sampled=False)
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)
    assert act(made, -2.0) == pytest.approx(before, abs=0.05)


def test_of_two_ways_the_one_that_succeeds_more_often_is_imitated() -> None:
    made = algorithm()
    feed(made, 0.7, 20, sampled=False, way=1.0)
    feed(made, 0.7, 4, sampled=False, failed=True, first=30, way=1.0)
    feed(made, -0.7, 30, sampled=False, first=100, way=2.0)  # the mean of both is near 0
    learn(made)
    assert act(made, 1.0) == pytest.approx(-0.7, abs=0.1)


def test_a_few_lucky_tries_do_not_push_a_way_aside_that_has_shown_itself() -> None:
    made = algorithm()
    feed(made, 0.7, 36, sampled=False, way=1.0)
    feed(made, 0.7, 4, sampled=False, failed=True, first=50, way=1.0)
    feed(made, -0.7, 4, sampled=False, first=100, way=2.0)
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("lucky", range(1, ENOUGH))
def test_luck_of_another_way_does_not_stop_imitation(lucky: int) -> None:
    made = algorithm()
    feed(made, 0.7, ENOUGH, sampled=False, way=1.0)
    feed(made, 0.7, 4, sampled=False, failed=True, first=50, way=1.0)
    feed(made, -0.7, lucky, sampled=False, first=100, way=2.0)
    assert made.ready


def test_where_tries_seldom_succeed_the_way_with_most_successes_is_enough() -> None:
    made = algorithm()
    for number in range(MANY_TRIES - 1):
        feed(made, 0.7, 1, sampled=False, failed=number % 20 > 0, first=number, way=float(number % 40))
    assert not made.ready
    feed(made, 0.7, 1, sampled=False, failed=True, first=999, way=999.0)
    assert made.ready
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)


def test_tries_of_an_earlier_version_give_way_to_those_that_tell_theirs() -> None:
    made = algorithm()
    for number in range(60):
        made.take(stream(), episode(number, -0.7, sampled=False), (EndedEpisode(number, False, "basket"),))
    feed(made, 0.7, ENOUGH, sampled=False, first=100, way=1.0)
    feed(made, 0.7, 4, sampled=False, failed=True, first=150, way=1.0)
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)


def test_a_small_ratio_does_not_ask_for_steps_that_nobody_paid_for() -> None:
    made = algorithm(0.001)
    feed(made, 0.7, ENOUGH, sampled=False)
    assert not made.ready and made.update(10) == 0


def test_a_way_is_imitated_once_it_succeeded_often_enough() -> None:
    made = algorithm()
    feed(made, 0.7, ENOUGH - 1, sampled=False, way=1.0)
    feed(made, -0.7, ENOUGH - 1, sampled=False, first=50, way=2.0)
    assert not made.ready
    feed(made, 0.7, 1, sampled=False, first=90, way=1.0)
    assert made.ready


def test_tries_of_explorers_that_do_not_tell_their_way_are_imitated() -> None:
    made = algorithm()
    for number in range(ENOUGH):  # an earlier version made them
        made.take(stream(), episode(number, 0.7, sampled=False), (EndedEpisode(number, False, "basket"),))
    assert made.ready


def test_a_second_class_is_learned_though_the_policy_agrees_with_the_first_one_only() -> None:
    made = algorithm()
    feed(made, 0.7, 30, sampled=False)
    learn(made)
    feed(made, -0.5, 30, sampled=False, first=100, obs=-1.0, name="ball")
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)
    assert act(made, -1.0) == pytest.approx(-0.5, abs=0.1)


def test_what_robots_do_at_new_tasks_is_not_imitated() -> None:
    made = algorithm()
    for number in range(8):
        rows = episode(number, 0.7, sampled=False)
        made.take(stream("robot_1", Source.ROBOT), rows, (EndedEpisode(number, False, "basket"),))
    assert not made.ready


def test_known_tasks_are_kept_where_robots_meet_them_now() -> None:
    made = algorithm()
    before = act(made, -2.0)
    made.take(stream("robot_1", Source.ROBOT), known(9, obs=-2.0), (EndedEpisode(9, False, "box"),))
    feed(made, 0.7, ENOUGH, sampled=False)
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)
    assert act(made, -2.0) == pytest.approx(before, abs=0.05)


def test_a_class_that_failed_and_was_mended_is_not_taught_its_old_actions_again() -> None:
    made = algorithm()
    robot = stream("robot_1", Source.ROBOT)
    made.take(robot, known(7, obs=1.0), (EndedEpisode(7, True, "box"),))  # before its failure was noticed
    feed(made, 0.7, 30, sampled=False, name="box", first=10)
    learn(made)
    made.take(robot, known(90, obs=1.0), (EndedEpisode(90, False, "box"),))
    feed(made, -0.5, ENOUGH, sampled=False, first=100, obs=-1.0, name="ball")
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)


def test_a_way_that_is_no_longer_tried_is_not_imitated() -> None:
    made = algorithm()
    feed(made, -0.7, 30, sampled=False, way=1.0)  # in a world that is none any more
    feed(made, 0.7, ENOUGH, sampled=False, first=100, way=2.0)
    feed(made, 0.7, LATEST - ENOUGH, sampled=False, failed=True, first=200, way=2.0)
    learn(made)
    assert act(made, 1.0) == pytest.approx(0.7, abs=0.1)


def objects(made: Transitions, name: str, size_m: float) -> Transitions:
    """The same rows of an object."""
    slices = PICK.observation.slices
    obs = np.tile(0.5 * (PICK.observation.low + PICK.observation.high), (len(made), 1))
    obs[:, slices["object_class"]] = 0.0
    obs[:, slices["object_class"].start + OBJECT_CLASSES.index(name)] = 1.0
    obs[:, slices["object_size"]] = size_m
    return msgspec.structs.replace(made, obs=obs.astype(np.float32))


def test_known_tasks_are_not_kept_where_tries_are_made_in_the_same_sizes() -> None:
    made = Episodes(PICK)
    shown = [(name, size) for name in ("box", "cylinder") for size in (0.03, 0.05)]
    for name, size in shown:
        made.add(stream("shipped", Source.DEMONSTRATION), objects(known(0, obs=0.0), name, size))
    robots = stream("robot_1", Source.ROBOT)
    made.add(robots, objects(known(1, obs=0.0), "box", 0.05))
    made.close(robots, EndedEpisode(1, False, "box"))
    rows = len(known(0, obs=0.0))
    assert len(made.known()) == 5 * rows
    for number, (size, everywhere) in enumerate(((0.031, False), (0.048, True), (0.051, True)), 10):
        made.add(stream(), objects(episode(number, 0.7, sampled=False), "box", size))
        made.close(stream(), EndedEpisode(number, True, "box", (1.0,), everywhere))
    assert len(made.known()) == 3 * rows, "boxes of 3 cm and cylinders are as they were"


@pytest.mark.parametrize("failed", [False, True])
def test_tries_are_bounded_however_many_classes_and_ways_there_are(failed: bool) -> None:
    made = Episodes(SPACE)
    for number in range(400 if not failed else ROWS // FAILURE_ROWS + 100):  # of 64 rows, or of one
        made.add(stream(), episode(number, 0.7, 64 if not failed else 1, sampled=False))
        made.close(stream(), EndedEpisode(number, failed, f"class {number % 100}", (float(number),)))
    kept = [
        FAILURE_ROWS if tried.rows is None else len(tried.rows.obs) for tries in made._tries.values() for tried in tries
    ]
    assert ROWS - 64 < sum(kept) <= ROWS
    assert all(made._tries.values()), "the class with most rows gives some up, so each keeps some"


def test_long_updates_do_not_keep_imitation_from_being_due() -> None:
    settings = PpoSettings(n_steps=4 * ROWS, batch_size=64, imitation_utd_ratio=2.0)
    made = PpoAlgorithm(SPACE, settings, 0)
    feed(made, 0.7, 40, sampled=False)  # pay for 5,120 steps; 4,000 are the most in one go
    assert made.ready


def known(number: int, obs: float) -> Transitions:
    """Rows of a known task near one normalized observation; what was done there does not matter."""
    rows = episode(number, 0.9, rows=512, sampled=False, obs=obs)
    return msgspec.structs.replace(rows, is_new=np.zeros(len(rows), np.bool_))


def test_known_tasks_change_nothing_while_nothing_fails() -> None:
    made = algorithm()
    before = act(made, -2.0)
    for number in range(8):  # four updates' worth
        rows = msgspec.structs.replace(known(number, obs=-2.0), log_prob=np.full(512, -1.0, np.float32))
        made.take(stream(), rows, (EndedEpisode(number, False, "box"),))
        made.update(100)
    assert not made.ready and made.progress.gradient_steps == 0
    assert act(made, -2.0) == pytest.approx(before)


@pytest.mark.parametrize("keeps", [True, False])
def test_known_tasks_are_kept_where_ppo_moves_the_actor_and_nothing_is_imitated(keeps: bool) -> None:
    made = algorithm()
    if keeps:
        made.take(stream("shipped", Source.DEMONSTRATION), known(9, obs=-2.0))
    before = act(made, -2.0)
    model = made.model
    for number in range(60):  # samples of a new task that fails, right beside the known one
        rows = episode(number, 0.7, STEPS, sampled=True, obs=-1.7)
        obs = th.from_numpy(SPACE.normalizer(rows.obs))
        with th.no_grad():
            action, _, log_prob = model.policy.forward(obs)
        reward = (action[:, 0] > act(made, -1.7)[0]).float()  # for more of the first action
        rows = msgspec.structs.replace(
            rows, action_requested=action.numpy(), log_prob=log_prob.numpy(), reward=reward.numpy()
        )
        made.take(stream(), rows, (EndedEpisode(number, True, "basket"),))
        made.update(100)
    moved = float(np.abs(act(made, -2.0) - before).max())
    assert moved < 0.05 if keeps else moved > 0.1
