"""A gripper that is driven by actions: one goal at a time, and the newest wish in the end."""

from __future__ import annotations

from floop_robot.robot.gripper_goals import GOAL_TIMEOUT_S, RETRY_S, GoalStep, GripperGoals

CLOSED, OPEN = 0.8, 0.0
NOTHING, SEND, CANCEL = GoalStep.NOTHING, GoalStep.SEND, GoalStep.CANCEL


def test_a_wish_is_sent_once_and_small_changes_are_none() -> None:
    goals = GripperGoals(OPEN - CLOSED)
    assert goals.step(CLOSED, 0.0) is SEND
    assert [goals.step(CLOSED - 0.01 * (i % 4), 0.02 * i) for i in range(50)] == [NOTHING] * 50
    goals.ended()
    assert goals.step(CLOSED, 2.0) is NOTHING, (
        "a held object keeps it from its position, and that is no reason to repeat"
    )
    assert goals.step(OPEN, 2.0) is SEND


def test_another_wish_cancels_the_goal_once_and_follows_its_end() -> None:
    goals = GripperGoals(OPEN - CLOSED)
    goals.step(CLOSED, 0.0)
    assert goals.step(OPEN, 0.1, can_cancel=False) is NOTHING, "it is not accepted yet"
    assert goals.step(OPEN, 0.2) is CANCEL
    assert goals.step(0.4, 0.3) is NOTHING
    goals.ended()
    assert goals.step(0.4, 0.4) is SEND


def test_back_to_the_goal_under_way_needs_nothing() -> None:
    goals = GripperGoals(OPEN - CLOSED)
    goals.step(CLOSED, 0.0)
    assert goals.step(CLOSED, 0.5) is NOTHING


def test_without_a_server_it_is_tried_again() -> None:
    goals = GripperGoals(OPEN - CLOSED)
    assert goals.step(CLOSED, 0.0) is SEND
    goals.failed(0.0)
    assert goals.step(CLOSED, 0.5 * RETRY_S) is NOTHING
    assert goals.step(CLOSED, RETRY_S) is SEND


def test_a_goal_that_never_ends_is_replaced() -> None:
    goals = GripperGoals(OPEN - CLOSED)
    goals.step(CLOSED, 0.0)
    assert goals.step(OPEN, 1.0) is CANCEL
    assert goals.step(OPEN, 0.9 * GOAL_TIMEOUT_S) is NOTHING
    assert goals.step(OPEN, 1.1 * GOAL_TIMEOUT_S) is SEND
