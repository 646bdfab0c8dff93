"""The shipped policies and their recipes.

`baselines/NAME.floop` is the policy; `baselines/NAME.learner` is the checkpoint from which a learner continues. Both
are made from `recipes/NAME.yaml` by `floop train --recipe`. `make baselines` makes them again.
"""

from __future__ import annotations

from pathlib import Path

from floop_robot.spec.errors import ConfigError

_FOLDER = Path(__file__).resolve().parent
NAMES = {
    ("floop/Pick-v0", "sac"): "pick",
    ("floop/Pick-v0", "ppo"): "pick_ppo",
    ("floop/PickPlace-v0", "sac"): "pick_place",
    ("floop/PickPlace-v0", "ppo"): "pick_place_ppo",
}
"""Task and algorithm of each shipped policy."""


def baseline(task_id: str, algo: str = "sac") -> Path:
    """The shipped policy bundle of a task, trained with `algo`; raises `ConfigError` for a task without one."""
    shipped = {key: path for key, name in NAMES.items() if (path := bundle_path(name)).is_file()}
    if (task_id, algo) not in shipped:
        tasks = ", ".join(sorted({f"{task} ({algo})" for task, algo in shipped}))
        raise ConfigError(
            f"no policy of {algo} is shipped for task {task_id!r} (only for {tasks}); train one and give its bundle"
        )
    return shipped[task_id, algo]


def bundle_path(name: str) -> Path:
    """The path of the shipped bundle called `name`, whether or not it exists."""
    return _FOLDER / "baselines" / f"{name}.floop"


def checkpoint_path(name: str) -> Path:
    """The path of the shipped checkpoint called `name`, whether or not it exists."""
    return _FOLDER / "baselines" / f"{name}.learner"


def recipe_path(name: str) -> Path:
    """The path of the recipe called `name`."""
    return _FOLDER / "recipes" / f"{name}.yaml"
