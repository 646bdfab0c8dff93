from __future__ import annotations

import pytest

from floop_robot.spec.layout import Field, Layout
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.task import TaskSpec


@pytest.fixture(scope="session")
def panda() -> RobotModel:
    return load_robot("panda")


@pytest.fixture(scope="session")
def spec() -> TaskSpec:
    one = Field(name="tcp", size=3, unit="m", frame="base", low=-2.0, high=2.0)
    action = Field(name="move", size=5, unit="1", low=-1.0, high=1.0)
    return TaskSpec(
        id="test/Reach-v0",
        meaning="reach",
        observation=Layout((one,)),
        action=Layout((action,)),
        policy_rate_hz=12.5,
        max_steps=40,
    )
