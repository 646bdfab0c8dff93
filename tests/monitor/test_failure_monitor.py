"""What becomes failing tasks, from reports alone."""

from __future__ import annotations

import msgspec

from floop_envs.scenarios import ReportedScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.monitor.failure_monitor import MAX_EARLY_LABELS, MAX_STORED_REPORTS, RESOLVED_WINDOW, FailureMonitor
from floop_robot.spec.records import Label, OutcomeCode
from tests.support.sample_policies import TASK, episode_end


def log_of(*outcomes: bool, object_class: str = "box") -> FailureMonitor:
    log = FailureMonitor(("box", "cylinder"), ("box", "cylinder", "basket"))
    for i, success in enumerate(outcomes):
        log.observe(episode_end(object_class, success, i))
    return log


def test_work_that_goes_well_is_no_focus() -> None:
    assert log_of(*[True] * 30).failing == ()
    assert log_of(*[True] * 10, False, False).failing == ()
    assert log_of(False, False).failing == (), "two failures are no pattern"


def test_repeated_failure_makes_focus_within_three_episodes() -> None:
    assert log_of(False, False, False).failing == ("box",)
    assert log_of(*[False] * 3, object_class="basket").failing == ("basket",)


def test_a_class_that_goes_well_again_leaves_the_focus_and_stays_in_the_suite_if_it_was_new() -> None:
    recovered = [False] * 5 + [True] * RESOLVED_WINDOW
    assert log_of(*recovered).failing == ()
    assert log_of(*recovered).resolved == ()
    assert log_of(*recovered, object_class="basket").resolved == ("basket",)


def test_a_class_without_a_model_is_told_apart() -> None:
    log = log_of(False, False, False, object_class="reserved_6")
    assert log.failing == ()
    assert log.without_model == ("reserved_6",)
    assert log.resolved == ()


def test_aborted_episodes_say_nothing() -> None:
    log = FailureMonitor(("box",), ("box",))
    for i in range(5):
        log.observe(msgspec.structs.replace(episode_end("box", False, i), outcome=OutcomeCode.ABORTED))
    assert log.failing == ()
    assert log.episodes == 0


def test_reports_are_bounded_and_scenarios_stay_where_work_was_reported() -> None:
    log = log_of(*[False] * (MAX_STORED_REPORTS + 50), object_class="basket")
    reports = log.reports(("basket",))
    assert len(reports) == MAX_STORED_REPORTS
    low = [min(r.position_m[i] for r in reports) - 0.021 for i in (0, 1)]
    high = [max(r.position_m[i] for r in reports) + 0.021 for i in (0, 1)]
    for scenario in scenarios_of(ReportedScenarios(TASK, reports), Purpose.GATE, 0, 50):
        assert scenario.object.object_class == "basket"
        assert all(a <= x <= b for a, x, b in zip(low, scenario.object_xy_m, high, strict=True))


def test_a_class_half_mended_stays_focus_until_it_is_healed() -> None:
    half = [False] * 6 + [True] * 16 + [False] * 2  # 16 of the last 20: too good to become focus, too bad to leave it
    assert log_of(*half, object_class="basket").failing == ("basket",)
    assert log_of(*[False] * 10, *[True] * 20, object_class="basket").failing == ("basket",)  # twenty may be luck
    healed = log_of(*half, *[True] * RESOLVED_WINDOW, object_class="basket")
    assert healed.failing == ()
    assert healed.resolved == ("basket",)


def label(episode: int, success: bool) -> Label:
    return Label(seq=0, stamp_ns=1, episode_boot_id="boot", episode=episode, success=success, author="ann")


def test_labels_make_focus_and_end_it_like_outcomes() -> None:
    """Episodes corrected later, in any order, say what they would have said had the robot known at once."""
    seen = [True] * 8
    told = [False, True, False, False] + [True] * 4
    log = FailureMonitor(("box",), ("box",))
    for i, success in enumerate(seen):
        log.observe(episode_end("box", success, i), "robot_1", "boot")
    assert log.failing == ()
    for i in (3, 0, 2):
        log.observe(label(i, False), "robot_1")
    assert log.failing == ("box",) == log_of(*told).failing and log.success("box") == (5, 8)
    changes = log.changes
    log.observe(label(3, False), "robot_1")
    log.observe(label(3, False), "robot_2")  # another robot's episode
    assert (log.success("box"), log.changes, log.episodes) == ((5, 8), changes, 8)
    log.observe(label(2, True), "robot_1")
    assert log.failing == () and log.changes > changes, "two failures are no pattern, and never were"


def test_a_late_label_does_not_heal_what_fails_for_want_of_what_is_forgotten() -> None:
    """Every tenth episode fails: never healed. What is kept begins with nine successes in a row."""
    kept = MAX_STORED_REPORTS + RESOLVED_WINDOW
    log = FailureMonitor(("box",), ("box",))
    for i in range(3 + 7 + kept):
        log.observe(episode_end("box", i >= 3 and i % 10 != 9, i), "robot_1", "boot")
    assert log.failing == ("box",)
    first = 3 + 7  # the oldest that is kept
    for place in range(first, first + kept, 20):
        log.observe(label(place, False), "robot_1")
        assert log.failing == ("box",)
        log.observe(label(place, True), "robot_1")
        assert log.failing == ("box",)
    assert len(log.reports(("box",))) == MAX_STORED_REPORTS


def test_a_label_that_comes_before_its_episode_counts_once_it_comes() -> None:
    log = FailureMonitor(("box",), ("box",))
    log.observe(label(1, False), "robot_1")
    log.observe(episode_end("box", True, 1), "robot_1", "boot")
    log.observe(episode_end("box", True, 1), "robot_2", "boot")
    assert log.success("box") == (1, 2)


def test_labels_of_aborted_and_unknown_episodes_change_nothing() -> None:
    log = FailureMonitor(("box",), ("box",))
    log.observe(msgspec.structs.replace(episode_end("box", False, 1), outcome=OutcomeCode.ABORTED), "robot_1", "boot")
    for i in range(MAX_EARLY_LABELS + 10):
        log.observe(label(i, False), "robot_1")
    assert (log.failing, log.episodes, log.changes) == ((), 0, 0)
