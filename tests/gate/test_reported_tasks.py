"""Target tasks and resolved tasks: what gate and explorers make of the failure monitor."""

from __future__ import annotations

import msgspec
import numpy as np

from floop_robot.gate.reported_tasks import (
    TargetTasks,
    new_tasks,
    reported_scenarios,
    resolved_tasks,
    target_tasks,
    unexplained_tasks,
)
from floop_robot.monitor.failure_monitor import RESOLVED_WINDOW, FailureMonitor
from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.records import EpisodeEnd, Source
from floop_robot.spec.simulator_fit import fit_event
from tests.support.sample_fits import calibration_fit
from tests.support.sample_policies import TASK, episode_end
from tests.support.sample_records import stream_info


def monitor_of(object_class: str, *outcomes: bool) -> FailureMonitor:
    monitor = FailureMonitor()
    for i, success in enumerate(outcomes):
        monitor.observe(episode_end(object_class, success, i))
    return monitor


def test_a_failing_class_without_a_model_is_kept_apart() -> None:
    assert target_tasks(monitor_of("reserved_6", *[False] * 3)) == TargetTasks((), ("reserved_6",))
    assert target_tasks(monitor_of("box", *[False] * 3)) == TargetTasks(("box",))
    assert reported_scenarios(TASK, FailureMonitor(), (), RobotFits()) is None


def robots_in(monitor: FailureMonitor, name: str, fits: RobotFits) -> set[str]:
    """For which robots scenarios of a class stand."""
    source, rng = reported_scenarios(TASK, monitor, (name,), fits), np.random.default_rng(0)
    assert source is not None
    return {source.sample(rng).robot for _ in range(60)}


def test_a_known_object_stands_for_robots_with_a_fit_once_there_is_one() -> None:
    monitor, small = FailureMonitor(), (0.015, 0.015, 0.015)
    for i in range(16):
        robot = f"robot_{i % 4 + 1}"
        for name in ("box", "basket"):
            monitor.observe(episode_end(name, False, i), robot, "boot")
        monitor.observe(of_size(episode_end("cylinder", False, i), small), robot, "boot")
    everyone = {f"robot_{i}" for i in range(1, 5)}
    assert robots_in(monitor, "box", RobotFits()) == everyone, "nothing better is known"
    assert robots_in(monitor, "box", fits_of(robot_1=False)) == everyone, "it explains nothing"
    fits = fits_of(robot_1=True, robot_2=False)
    assert robots_in(monitor, "box", fits) == {"robot_1"}
    assert robots_in(monitor, "basket", fits) == everyone, "it is new, and fails in any world"
    assert robots_in(monitor, "cylinder", fits) == everyone, "its size is new"


def of_size(end: EpisodeEnd, size_m: tuple[float, float, float]) -> EpisodeEnd:
    return msgspec.structs.replace(end, object=msgspec.structs.replace(end.object, size_m=size_m))


def test_a_new_class_stays_in_the_regression_suite_once_it_is_resolved() -> None:
    recovered = [False] * 5 + [True] * RESOLVED_WINDOW
    assert resolved_tasks(monitor_of("basket", *recovered)) == ("basket",)
    assert resolved_tasks(monitor_of("box", *recovered)) == ("box",), "robots meet it otherwise than in training"
    assert resolved_tasks(monitor_of("box", *[True] * RESOLVED_WINDOW)) == (), "what never failed is in it anyway"
    assert resolved_tasks(monitor_of("reserved_6", *recovered)) == (), "it cannot be simulated"


def test_a_target_names_the_robots_that_fail_alone() -> None:
    monitor = FailureMonitor()
    for i in range(40):
        robot = f"robot_{i % 4 + 1}"
        monitor.observe(episode_end("box", robot != "robot_2", i), robot, "boot")
    found = target_tasks(monitor)
    assert (found.classes, found.names, found.name) == (("box",), ("box on robot_2",), "box on robot_2")


def fits_of(**explains: bool) -> RobotFits:
    """One fit of each of these robots."""
    fits = RobotFits()
    for robot, explained in explains.items():
        fit = msgspec.structs.replace(calibration_fit(robot, (0.0, 0.0, 0.0)), explains=explained)
        fits.take(stream_info("fitter", source=Source.FITTER), [fit_event(fit, 0)])
    return fits


def test_failures_that_no_fit_explains_are_told() -> None:
    monitor = FailureMonitor()
    for i in range(40):
        robot = f"robot_{i % 4 + 1}"
        monitor.observe(episode_end("box", robot != "robot_2", i), robot, "boot")
        monitor.observe(episode_end("cylinder", False, i), robot, "boot")
    assert unexplained_tasks(monitor, RobotFits()) == (), "nothing is known yet"
    assert unexplained_tasks(monitor, fits_of(robot_1=False)) == (), "box fails on another robot, cylinders on all"
    assert unexplained_tasks(monitor, fits_of(robot_2=False)) == ("box",), "three robots have no fit"
    all_but_one = {f"robot_{i}": False for i in range(2, 5)}
    assert unexplained_tasks(monitor, fits_of(robot_1=True, **all_but_one)) == ("box",), "one fit explains cylinders"
    assert unexplained_tasks(monitor, fits_of(robot_1=False, **all_but_one)) == ("box", "cylinder")


def test_a_new_class_needs_no_fit_to_fail() -> None:
    monitor = monitor_of("basket", *[False] * 4)
    (report,) = {each.robot for each in monitor.reports(("basket",))}
    assert unexplained_tasks(monitor, fits_of(**{report: False})) == ()


def test_explorers_practise_a_new_class_from_its_first_report_on() -> None:
    assert new_tasks(monitor_of("basket", False)) == ("basket",)
    assert resolved_tasks(monitor_of("basket", False)) == (), "one failure resolves nothing"
    assert new_tasks(monitor_of("box", False)) == (), "the shipped policy was trained on it"
    assert new_tasks(monitor_of("box", *[False] * 3)) == ("box",), "but not as robots meet it now"
