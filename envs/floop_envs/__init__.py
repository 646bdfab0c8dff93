"""Gymnasium environments on PyBullet: Robot × Task × Objects.

`gymnasium.make("floop_envs:floop/Pick-v0")` imports this package and finds the environments registered.
"""

from __future__ import annotations

import gymnasium

from floop_robot.spec.tasks import task_ids

for _task in task_ids():
    if _task not in gymnasium.registry:
        # No `max_episode_steps`: the step limit is part of the task, and the environment itself truncates.
        gymnasium.register(id=_task, entry_point="floop_envs.env:make_env", kwargs={"task_id": _task})
