"""contract, limits and reward ids: short hashes of what must agree before data and policies meet.

They are three because they change for different reasons. A tightened limit or a new reward leaves policies and replay
usable; another observation layout does not.
"""

from __future__ import annotations

import hashlib

import msgspec

from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.task import TaskRules, TaskSpec


class Ids(msgspec.Struct, frozen=True):
    """The ids that travel with every record and every policy."""

    contract: str
    limits: str
    reward: str


def _digest(value: object) -> str:
    # msgspec writes struct fields in declaration order and floats in shortest round-trip form: the same on every host.
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


def contract_id(spec: TaskSpec) -> str:
    """Hash of names, order, shapes, units, frames, normalization, policy rate and meaning."""
    return _digest(spec)


def limits_id(robot: RobotModel) -> str:
    """Hash of the limits the safety limiter enforces."""
    return _digest([robot.name, robot.limits, robot.gripper])


def reward_id(rules: TaskRules) -> str:
    """Hash of every constant of the reward and of success."""
    return _digest([rules.spec.id, rules.reward_parameters])


def ids_of(rules: TaskRules, robot: RobotModel) -> Ids:
    """The three ids of a task on a robot."""
    return Ids(contract=contract_id(rules.spec), limits=limits_id(robot), reward=reward_id(rules))
