"""FailureMonitor: which classes fail and which are resolved, from reports alone."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from floop_envs.scenarios import ReportedScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.monitor import failure_monitor
from floop_robot.monitor.failure_monitor import (
    MAX_CLASSES,
    MAX_EARLY_LABELS,
    MAX_STORED_REPORTS,
    RESOLVED_WINDOW,
    ROBOT_RESOLVED_WINDOW,
    WINDOW,
    FailureMonitor,
)
from floop_robot.monitor.outcome_history import FAILURES_IN_A_ROW
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, Label, OutcomeCode, Source, StreamInfo
from tests.support.sample_policies import TASK, episode_end


def monitor_of(*outcomes: bool, object_class: str = "box") -> FailureMonitor:
    monitor = FailureMonitor()
    for i, success in enumerate(outcomes):
        monitor.observe(episode_end(object_class, success, i))
    return monitor


def test_a_class_that_succeeds_is_not_failing() -> None:
    assert monitor_of(*[True] * 30).failing == ()
    assert monitor_of(*[True] * 10, False, False).failing == ()
    assert monitor_of(False, False).failing == (), "two failures are no pattern"
    assert monitor_of(False, False).resolved == (), "nor is the class resolved"


def test_three_failures_make_a_class_failing() -> None:
    assert monitor_of(False, False, False).failing == ("box",)
    assert monitor_of(*[False] * 3, object_class="basket").failing == ("basket",)


def test_a_failing_class_that_succeeds_again_is_resolved() -> None:
    recovered = [False] * 5 + [True] * RESOLVED_WINDOW
    assert monitor_of(*recovered).failing == ()
    assert monitor_of(*recovered).resolved == ("box",)


def test_aborted_and_sampled_episodes_do_not_count() -> None:
    monitor = FailureMonitor()
    for i in range(5):
        monitor.observe(msgspec.structs.replace(episode_end("box", False, i), outcome=OutcomeCode.ABORTED))
    assert monitor.failing == ()
    assert monitor.episodes == 0


def test_reports_of_the_world_before_are_forgotten_when_a_class_begins_to_fail() -> None:
    monitor = FailureMonitor()
    for i in range(100):
        monitor.observe(episode_end("box", True, i))
    assert len(monitor.reports(("box",))) == 100 and not monitor.has_failed("box")
    for i in range(100, 140):
        monitor.observe(episode_end("box", False, i))
    failures_that_showed_it = 4
    assert len(monitor.reports(("box",))) == WINDOW + 40 - failures_that_showed_it
    assert monitor.has_failed("box") and not monitor.has_failed("basket")


def test_reports_are_bounded_and_scenarios_stay_where_tasks_were_reported() -> None:
    monitor = monitor_of(*[False] * (MAX_STORED_REPORTS + 50), object_class="basket")
    reports = monitor.reports(("basket",))
    assert len(reports) == MAX_STORED_REPORTS
    low = [min(r.object.position_m[i] for r in reports) - 0.021 for i in (0, 1)]
    high = [max(r.object.position_m[i] for r in reports) + 0.021 for i in (0, 1)]
    for scenario in scenarios_of(ReportedScenarios(TASK, reports), Purpose.GATE, 0, 50):
        assert scenario.object.object_class == "basket"
        assert all(a <= x <= b for a, x, b in zip(low, scenario.object_xy_m, high, strict=True))


def test_a_class_that_half_recovered_stays_failing_until_it_is_resolved() -> None:
    half = (
        [False] * 6 + [True] * 16 + [False] * 2
    )  # 16 of the last 20: too good to become failing, too bad to be resolved
    assert monitor_of(*half, object_class="basket").failing == ("basket",)
    assert monitor_of(*[False] * 10, *[True] * 20, object_class="basket").failing == ("basket",)  # twenty may be luck
    resolved = monitor_of(*half, *[True] * RESOLVED_WINDOW, object_class="basket")
    assert resolved.failing == ()
    assert resolved.resolved == ("basket",)


ROBOTS = tuple(f"robot_{i + 1}" for i in range(4))


def fleet_at_work(monitor: FailureMonitor, rounds: int, success: Callable[[str], bool], name: str = "box") -> None:
    """Every robot ends an episode in each round."""
    for _ in range(rounds):
        for robot in ROBOTS:
            number = monitor.episodes
            monitor.observe(episode_end(name, success(robot), number), robot, "boot")


def test_a_robot_that_fails_alone_is_named_and_no_other() -> None:
    """Over the fleet, 75 % succeed: too good to fail."""
    monitor = FailureMonitor()
    fleet_at_work(monitor, 10, lambda robot: True)
    fleet_at_work(monitor, FAILURES_IN_A_ROW - 1, lambda robot: robot != "robot_3")
    assert monitor.failing == ()
    fleet_at_work(monitor, 40, lambda robot: robot != "robot_3")
    assert monitor.failing == ("box",) and monitor.failing_robots("box") == ("robot_3",)
    assert monitor.success("box") == (20, 20), "the others' count leaves it out"
    assert {report.robot for report in monitor.reports(("box",))} == {"robot_3"}
    fleet_at_work(monitor, ROBOT_RESOLVED_WINDOW, lambda robot: True)
    assert monitor.failing == () and monitor.resolved == ("box",)
    assert {report.robot for report in monitor.reports(("box",))} == set(ROBOTS)


def test_half_of_the_robots_are_named_when_the_class_fails_on_them_only() -> None:
    monitor = FailureMonitor()
    fleet_at_work(monitor, 20, lambda robot: True)
    fleet_at_work(monitor, FAILURES_IN_A_ROW + 2, lambda robot: robot in ROBOTS[:2])
    assert monitor.failing_robots("box") == ROBOTS[2:]
    fleet_at_work(monitor, ROBOT_RESOLVED_WINDOW, lambda robot: True)
    assert monitor.failing == ()


def test_a_new_object_fails_on_all_robots_from_the_third_failure_on() -> None:
    monitor = FailureMonitor()
    for robot in ROBOTS[:3]:
        monitor.observe(episode_end("basket", False), robot, "boot")
    assert monitor.failing == ("basket",) and monitor.failing_robots("basket") == ()
    for _ in range(10):
        fleet_at_work(monitor, 1, lambda robot: False, "basket")
        assert monitor.failing_robots("basket") == (), "when all fail, none is named"
    assert {report.robot for report in monitor.reports(("basket",))} == set(ROBOTS)


def test_a_class_that_begins_to_fail_everywhere_is_found_by_failures_in_a_row() -> None:
    monitor = FailureMonitor()
    fleet_at_work(monitor, 20, lambda robot: True)
    fleet_at_work(monitor, 1, lambda robot: False)
    assert monitor.failing == ("box",) and monitor.failing_robots("box") == ()


def test_a_class_is_not_resolved_because_the_last_robot_that_fails_leaves() -> None:
    """It failed on all and does 90 % on three by now: that is not 97.5 %, whatever becomes of the fourth."""
    monitor = FailureMonitor()
    fleet_at_work(monitor, 10, lambda robot: False)
    fleet_at_work(monitor, ROBOT_RESOLVED_WINDOW, lambda robot: robot != "robot_4")
    assert monitor.failing == ("box",) and monitor.failing_robots("box") == (), "the others do not succeed for long"
    for round_ in range(40):  # robot_4 has left
        for robot in ROBOTS[:3]:
            success = round_ % 10 != 0
            monitor.observe(episode_end("box", success, monitor.episodes), robot, "boot")
    assert monitor.failing == ("box",)
    for _ in range(RESOLVED_WINDOW):
        monitor.observe(episode_end("box", True, monitor.episodes), "robot_1", "boot")
    assert monitor.failing == ()


def test_a_robot_that_still_fails_is_named_once_the_others_resolved_the_class() -> None:
    monitor = FailureMonitor()
    fleet_at_work(monitor, 10, lambda robot: False)
    fleet_at_work(monitor, RESOLVED_WINDOW // 2, lambda robot: robot != "robot_4")
    assert monitor.failing == ("box",) and monitor.failing_robots("box") == ("robot_4",)


def test_labels_correct_what_is_known_of_a_robot() -> None:
    monitor = FailureMonitor()
    fleet_at_work(monitor, 16, lambda robot: True)
    own = [n for n in range(64) if ROBOTS[n % 4] == "robot_3"]
    for n in own[-FAILURES_IN_A_ROW:]:
        monitor.observe(label(n, False), "robot_3")
    assert monitor.failing_robots("box") == ("robot_3",)
    monitor.observe(label(own[-1], True), "robot_3")
    assert monitor.failing == ()


def test_false_alarms_of_four_robots_of_97_percent_are_rare() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(150):
        monitor = FailureMonitor()
        for n in range(40):
            monitor.count((ROBOTS[n % 4], "boot", n), "box", bool(rng.random() < 0.97))
        alarms += bool(monitor.failing)
    assert alarms <= 6, "1.4 % are expected"


def label(episode: int, success: bool) -> Label:
    return Label(seq=0, stamp_ns=1, episode_boot_id="boot", episode=episode, success=success, author="ann")


def test_labels_count_like_outcomes() -> None:
    """Episodes corrected later, in any order, count as if the robot had known at once."""
    seen = [True] * 8
    corrected = [False, True, False, False] + [True] * 4
    monitor = FailureMonitor()
    for i, success in enumerate(seen):
        monitor.observe(episode_end("box", success, i), "robot_1", "boot")
    assert monitor.failing == ()
    for i in (3, 0, 2):
        monitor.observe(label(i, False), "robot_1")
    assert monitor.failing == ("box",) == monitor_of(*corrected).failing and monitor.success("box") == (5, 8)
    changes = monitor.changes
    monitor.observe(label(3, False), "robot_1")
    monitor.observe(label(3, False), "robot_2")  # another robot's episode
    assert (monitor.success("box"), monitor.changes, monitor.episodes) == ((5, 8), changes, 8)
    monitor.observe(label(2, True), "robot_1")
    assert monitor.failing == () and monitor.changes > changes, "two failures are no pattern, and never were"


def test_a_late_label_does_not_resolve_a_class_whose_old_failures_are_forgotten() -> None:
    """Every tenth episode fails, so the class is never resolved. What is stored begins with nine successes in a row."""
    stored = MAX_STORED_REPORTS + RESOLVED_WINDOW
    monitor = FailureMonitor()
    for i in range(3 + 7 + stored):
        monitor.observe(episode_end("box", i >= 3 and i % 10 != 9, i), "robot_1", "boot")
    assert monitor.failing == ("box",)
    first = 3 + 7  # the oldest that is stored
    for place in range(first, first + stored, 20):
        monitor.observe(label(place, False), "robot_1")
        assert monitor.failing == ("box",)
        monitor.observe(label(place, True), "robot_1")
        assert monitor.failing == ("box",)
    assert len(monitor.reports(("box",))) == MAX_STORED_REPORTS


def test_a_label_that_comes_before_its_episode_counts_once_it_comes() -> None:
    monitor = FailureMonitor()
    monitor.observe(label(1, False), "robot_1")
    monitor.observe(episode_end("box", True, 1), "robot_1", "boot")
    monitor.observe(episode_end("box", True, 1), "robot_2", "boot")
    assert monitor.success("box") == (1, 2)


def test_labels_of_aborted_and_unknown_episodes_change_nothing() -> None:
    monitor = FailureMonitor()
    monitor.observe(
        msgspec.structs.replace(episode_end("box", False, 1), outcome=OutcomeCode.ABORTED), "robot_1", "boot"
    )
    for i in range(MAX_EARLY_LABELS + 10):
        monitor.observe(label(i, False), "robot_1")
    assert (monitor.failing, monitor.episodes, monitor.changes) == ((), 0, 0)


def test_made_up_classes_do_not_fill_the_memory() -> None:
    monitor = FailureMonitor()
    for i in range(MAX_CLASSES + 5):
        for episode in range(3):
            monitor.count(("robot_1", "boot", 3 * i + episode), f"class_{i}", success=False)
    assert len(monitor.failing) == MAX_CLASSES and "class_0" not in monitor.failing


def test_made_up_robots_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure_monitor, "MAX_ROBOT_HISTORIES", 50)
    monitor = FailureMonitor()
    for i in range(55):
        monitor.count((f"robot_{i}", "boot", i), "box", success=True)
    history = monitor._classes["box"]
    assert len(history.robots) == 50 and "robot_0" not in history.robots


def test_only_robots_on_their_deployed_policy_count() -> None:
    ids = Ids("contract", "limits", "reward")
    ends = [episode_end("box", False, i) for i in range(3)]
    sampled = [msgspec.structs.replace(end, act_mode=ActMode.SAMPLE) for end in ends]
    monitor = FailureMonitor()
    monitor.take(StreamInfo("explorer_1", "boot", TASK, ids, Source.EXPLORER), ends)
    monitor.take(StreamInfo("robot_1", "boot", TASK, ids, Source.ROBOT), sampled)
    assert (monitor.episodes, monitor.failing) == (0, ())
    monitor.take(StreamInfo("robot_1", "boot", TASK, ids, Source.ROBOT), ends, [label(0, True)])
    assert (monitor.episodes, monitor.success("box")) == (3, (1, 3))


def test_a_robot_that_failed_alone_and_left_is_forgotten() -> None:
    monitor = FailureMonitor()
    fleet_at_work(monitor, 10, lambda robot: robot != "robot_3")
    assert monitor.failing_robots("box") == ("robot_3",)
    for i in range(failure_monitor.ACTIVE_WITHIN - 1):  # robot_4 had one since robot_3's last
        assert monitor.failing == ("box",)
        monitor.count(("robot_1", "later", i), "box", success=True)
    assert monitor.failing == () and monitor.failing_robots("box") == ()


def test_one_failure_after_the_resolution_does_not_make_a_robot_failing() -> None:
    monitor = FailureMonitor()
    fleet_at_work(monitor, 10, lambda robot: robot != "robot_3")
    for i in range(ROBOT_RESOLVED_WINDOW):
        assert monitor.failing_robots("box") == ("robot_3",)
        monitor.count(("robot_3", "later", i), "box", success=True)
    monitor.count(("robot_3", "later", 99), "box", success=False)
    assert monitor.failing == ()


def test_no_robot_is_named_while_little_is_known_of_the_others() -> None:
    monitor = FailureMonitor()
    monitor.count(("robot_2", "boot", 0), "box", success=True)
    for i in range(4):
        monitor.count(("robot_1", "boot", i), "box", success=False)
    assert monitor.failing == ("box",) and monitor.failing_robots("box") == ()


def test_labels_that_make_a_class_failing_begin_a_new_world_too() -> None:
    monitor = FailureMonitor()
    for episode in range(10):
        monitor.observe(episode_end("box", True, episode), "robot_1", "boot")
    assert not monitor.has_failed("box")
    for episode in range(10):
        monitor.observe(label(episode, False), "robot_1")
    assert monitor.failing == ("box",) and monitor.has_failed("box")


def test_labels_can_name_a_robot_whose_reports_are_forgotten() -> None:
    monitor = FailureMonitor()
    robots = [f"robot_{i}" for i in range(1, 31)]
    for episode in range(6):
        for robot in sorted(robots, key="robot_3".__ne__):  # robot_3 first: its reports are the oldest of each round
            monitor.observe(episode_end("box", True, episode), robot, "boot")
    for episode in range(2, 6):
        monitor.observe(label(episode, False), "robot_3")
    assert monitor.failing_robots("box") == ("robot_3",)
    assert len(monitor.reports(("box",))) == WINDOW, "where the others met the class stands in"
