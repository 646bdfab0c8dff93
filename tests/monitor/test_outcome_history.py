"""OutcomeHistory: what is decided again once the oldest episodes are forgotten."""

from __future__ import annotations

from floop_robot.monitor.failure_monitor import MAX_STORED_REPORTS, RESOLVED_WINDOW
from floop_robot.monitor.outcome_history import OutcomeHistory

CAPACITY = MAX_STORED_REPORTS + RESOLVED_WINDOW
ROBOTS = 7


def history_at_90_percent(episodes: int) -> OutcomeHistory:
    """Ten failures, then every tenth episode fails, on each of the robots alike: never resolved."""
    history = OutcomeHistory(RESOLVED_WINDOW, CAPACITY)
    for i in range(episodes):
        history.add((f"robot_{i % ROBOTS}", "boot", i), i >= 10 and i % 10 != 9)
    assert history.failing
    return history


def test_a_class_that_fails_on_all_robots_stays_failing_when_some_are_left_out() -> None:
    for episodes in (CAPACITY + 11, 2 * CAPACITY + 1):
        for left_out in range(1, ROBOTS):
            history = history_at_90_percent(episodes)
            history.leave_out([f"robot_{i}" for i in range(left_out)])
            assert history.failing, f"{episodes} episodes, {left_out} robots left out"


def test_a_label_resolves_nothing_after_robots_were_left_out_of_a_full_history() -> None:
    history = history_at_90_percent(CAPACITY + 11)
    history.leave_out(["robot_0"])
    for key in [episode.key for episode in history._episodes][:10]:
        for success in (False, True):
            history.correct(key, success)
            assert history.failing


def test_failures_of_robots_that_are_left_out_are_forgotten_while_all_episodes_are_stored() -> None:
    history = OutcomeHistory(RESOLVED_WINDOW, CAPACITY)
    for i in range(40):
        history.add((f"robot_{i % 2}", "boot", i), i % 2 == 0)
    assert history.failing
    history.leave_out(["robot_1"])
    assert not history.failing


def test_labels_make_a_class_fail_after_robots_were_left_out_of_a_full_history() -> None:
    history = OutcomeHistory(RESOLVED_WINDOW, CAPACITY)
    for i in range(CAPACITY + 20):
        history.add((f"robot_{i % 2}", "boot", i), success=True)
    for i in range(40):
        history.add(("robot_2", "boot", i), success=True)
    history.leave_out(["robot_0", "robot_1"])
    for i in range(20, 40):
        history.correct(("robot_2", "boot", i), success=False)
    assert history.failing
