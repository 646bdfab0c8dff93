"""What robots reported, as gate and explorers use it: target tasks, resolved tasks and their scenarios."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from floop_envs.scenarios import MODELED, TRAINING_CLASSES, ReportedScenarios, is_known
from floop_robot.core import ScenarioSource
from floop_robot.monitor.failure_monitor import FailureMonitor, failing_name
from floop_robot.monitor.robot_fits import RobotFits


class TargetTasks(msgspec.Struct, frozen=True):
    """What a trial is to improve, by object class."""

    classes: tuple[str, ...] = ()
    """Failing classes that can be simulated."""
    without_model: tuple[str, ...] = ()
    """Failing classes that can't be: only a canary robot can tell."""
    robots: dict[str, tuple[str, ...]] = {}
    """Robots that a class fails on, where it fails on some only."""

    @property
    def name(self) -> str:
        """How people call it."""
        return ", ".join(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """What can be simulated, with its robots: two sets of names are two sets of scenarios."""
        return tuple(failing_name(each, self.robots.get(each, ())) for each in self.classes)


def target_tasks(monitor: FailureMonitor, modeled: Collection[str] = MODELED) -> TargetTasks:
    """The failing classes, divided by whether their failures can be simulated: those in `modeled` can."""
    failing = monitor.failing
    return TargetTasks(
        tuple(name for name in failing if name in modeled),
        tuple(name for name in failing if name not in modeled),
        {name: robots for name in failing if (robots := monitor.failing_robots(name))},
    )


def unexplained_tasks(monitor: FailureMonitor, fits: RobotFits) -> tuple[str, ...]:
    """Failing classes of training whose failures no world of the simulator shows.

    Every robot that the class fails on has a fit, and none of these explains. New classes need no fit to fail.
    """
    return tuple(n for n in monitor.failing if n in TRAINING_CLASSES and _is_unexplained(n, monitor, fits))


def _is_unexplained(name: str, monitor: FailureMonitor, fits: RobotFits) -> bool:
    robots = monitor.failing_robots(name) or {report.robot for report in monitor.reports((name,))}
    known = [fits.fit(robot) for robot in robots]
    return bool(known) and all(fit is not None and not fit.explains for fit in known)


def resolved_tasks(monitor: FailureMonitor) -> tuple[str, ...]:
    """Classes learned since the shipped policy: once in the regression suite, they stay."""
    return tuple(name for name in monitor.resolved if _is_new(name, monitor))


def new_tasks(monitor: FailureMonitor) -> tuple[str, ...]:
    """Classes that are new to the shipped policy, from the first report on: explorers practise them at once."""
    return tuple(name for name in monitor.classes if _is_new(name, monitor))


def _is_new(name: str, monitor: FailureMonitor) -> bool:
    """Whether the shipped policy does not know a class, or not as robots meet it now: of other sizes, say."""
    return name in MODELED and (name not in TRAINING_CLASSES or monitor.has_failed(name))


def unsolved_tasks(monitor: FailureMonitor) -> tuple[str, ...]:
    """Classes that can be simulated and fail, or that no robot has succeeded at yet."""
    unsolved = set(monitor.classes) - set(monitor.resolved)
    return tuple(sorted(name for name in unsolved if name in MODELED))


def reported_scenarios(
    task: str, monitor: FailureMonitor, classes: tuple[str, ...], fits: RobotFits
) -> ScenarioSource | None:
    """Scenarios of these classes as robots reported them, those that they fail on if only some; None without any.

    A known object hides why it fails. So it stands for robots with a fit alone, once one of them has one: in the usual
    world it does not fail, and who practises there learns nothing.
    """
    reports = monitor.reports(classes)
    hidden = {r.object.object_class for r in reports if is_known(r.object) and fits.explain(r.robot)}
    shown = [
        r for r in reports if r.object.object_class not in hidden or not is_known(r.object) or fits.explain(r.robot)
    ]
    return ReportedScenarios(task, shown) if shown else None
