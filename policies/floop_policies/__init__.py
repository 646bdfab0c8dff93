"""Shipped baseline policies and the recipes that made them.

`baselines/NAME.floop` is the policy, `baselines/NAME.learner` what a learner goes on from; `recipes/NAME.yaml`
is what `floop train --recipe` made both of. `python -m floop_policies.make` (`make baselines`) makes them again.
"""

from __future__ import annotations

from pathlib import Path

from floop_robot.spec.errors import UnknownName

_FOLDER = Path(__file__).resolve().parent
NAMES = {"floop/Pick-v0": "pick", "floop/PickPlace-v0": "pick_place"}


def baseline(task_id: str) -> Path:
    """The shipped policy bundle of a task; raises `UnknownName` for a task without one."""
    shipped = {task: path for task, name in NAMES.items() if (path := bundle_path(name)).is_file()}
    if task_id not in shipped:
        raise UnknownName("task", task_id, shipped, "the shipped policies")
    return shipped[task_id]


def bundle_path(name: str) -> Path:
    """Where the bundle made by the recipe called `name` belongs."""
    return _FOLDER / "baselines" / f"{name}.floop"


def checkpoint_path(name: str) -> Path:
    """Where the learner's checkpoint made by the recipe called `name` belongs."""
    return _FOLDER / "baselines" / f"{name}.learner"


def recipe_path(name: str) -> Path:
    """The recipe called `name`."""
    return _FOLDER / "recipes" / f"{name}.yaml"
