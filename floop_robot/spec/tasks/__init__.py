"""The tasks: observation, reward and success of each."""

from __future__ import annotations

from collections.abc import Callable

from floop_robot.spec.errors import UnknownName
from floop_robot.spec.task import TaskRules
from floop_robot.spec.tasks.layouts import POLICY_RATE_HZ
from floop_robot.spec.tasks.pick import PickRules
from floop_robot.spec.tasks.place import PlaceRules

_TASKS: dict[str, Callable[[float], TaskRules]] = {"floop/Pick-v0": PickRules, "floop/PickPlace-v0": PlaceRules}


def task_ids() -> tuple[str, ...]:
    """Names that `get_task` knows."""
    return tuple(_TASKS)


def get_task(task_id: str, policy_rate_hz: float = POLICY_RATE_HZ) -> TaskRules:
    """Rules of the task called `task_id`; raises `UnknownName`.

    Another rate than the default makes another contract.
    """
    if task_id not in _TASKS:
        raise UnknownName("task", task_id, _TASKS)
    return _TASKS[task_id](policy_rate_hz)
