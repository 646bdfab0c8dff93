from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from floop_robot.robot.controller import (
    JOINT_MARGIN_RAD,
    MAX_LEAD_M,
    WORKSPACE_MARGIN_M,
    YAW_RANGE_RAD,
    ArmController,
    with_margin,
)
from floop_robot.robot.kinematics import Kinematics, yaw_of
from floop_robot.robot.limiter import SafetyLimiter
from floop_robot.spec.layout import Vector
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.task import TaskSpec


@pytest.fixture
def controller(panda: RobotModel, spec: TaskSpec) -> ArmController:
    return ArmController(panda, spec)


def action(*values: float) -> Vector:
    return np.array(values, np.float32)


def test_an_action_moves_the_target_by_speed_times_period(panda: RobotModel, controller: ArmController) -> None:
    target = controller.command(action(1, -0.5, 0.25, 0.5, -1), panda.home_rad)
    (x, y, z), yaw = controller.target
    assert (x, y, z) == pytest.approx((0.49, -0.02, 0.29), abs=1e-5)
    assert yaw == pytest.approx(0.08, abs=1e-5)
    pose = Kinematics(panda).pose(target.q_rad)
    assert pose[:3, 3] == pytest.approx((x, y, z), abs=2e-3)
    assert yaw_of(pose) == pytest.approx(yaw, abs=0.01)


@pytest.mark.parametrize(("grip", "width"), [(-1.0, 0.0), (0.0, 0.04), (1.0, 0.08), (7.0, 0.08)])
def test_the_gripper_component_is_the_opening(
    panda: RobotModel, controller: ArmController, grip: float, width: float
) -> None:
    assert controller.command(action(0, 0, 0, 0, grip), panda.home_rad).gripper_width_m == pytest.approx(width)


def test_pushing_on_does_not_wind_up(panda: RobotModel, controller: ArmController) -> None:
    for _ in range(20):  # the arm is stuck at home
        controller.command(action(0, 1, 0, 0, 0), panda.home_rad)
    assert math.dist(controller.target[0], Kinematics(panda).position(panda.home_rad)) <= MAX_LEAD_M + 1e-9


def test_the_target_stays_in_the_workspace_and_yaw_range(panda: RobotModel, controller: ArmController) -> None:
    q = panda.home_rad
    for _ in range(40):
        q = controller.command(action(0, 0, -1, 1, 0), q).q_rad
    (_, _, z), yaw = controller.target
    assert z == pytest.approx(panda.limits.workspace_low_m[2] + WORKSPACE_MARGIN_M)
    assert yaw == pytest.approx(YAW_RANGE_RAD, abs=1e-4)


def test_targets_stay_inside_the_joint_range_by_what_a_servo_overshoots(
    panda: RobotModel, controller: ArmController
) -> None:
    q = panda.home_rad
    for left, turn in [(1, -0.9)] * 8 + [(0, -0.05)] * 60:  # until the last joint is at the end of its range
        q = controller.command(action(0, left, 0, turn, 0), q).q_rad
    margin = panda.limits.position_upper_rad[-1] - q[-1]
    assert JOINT_MARGIN_RAD <= margin + 1e-9 < JOINT_MARGIN_RAD + 0.01


@pytest.mark.parametrize("of_model", [True, False])
def test_an_arm_that_begins_in_the_margin_can_move_and_comes_no_closer(
    panda: RobotModel, spec: TaskSpec, of_model: bool
) -> None:
    """By a model whose home is there, or by a person who moved it there."""
    upper = panda.limits.position_upper_rad
    model, q = panda, (*panda.home_rad[:-1], upper[-1] - 0.02)
    if of_model:
        limits = msgspec.structs.replace(panda.limits, position_upper_rad=(*upper[:-1], panda.home_rad[-1] + 0.02))
        model, q = msgspec.structs.replace(panda, limits=limits), panda.home_rad
    controller = ArmController(model, spec)
    controller.reset(q)
    begin, most = controller.target[0], q[-1]
    for _ in range(4):
        q = controller.command(action(0, 0, -1, 0, 0), q).q_rad
    assert controller.ik_failures == 0
    assert begin[2] - controller.target[0][2] > 0.1
    for left in [1.0] * 30:
        q = controller.command(action(0, left, 0, 0, 0), q).q_rad
        assert q[-1] <= most + 1e-9


def test_an_unreachable_pose_keeps_the_target(panda: RobotModel, controller: ArmController) -> None:
    q = panda.home_rad
    for _ in range(60):  # towards the far upper corner, which a downward tool cannot reach
        q = controller.command(action(1, 1, 1, 0, 0), q).q_rad
    assert controller.ik_failures > 0
    before = controller.target
    assert controller.command(action(1, 1, 1, 0, 0), q).q_rad == q
    assert controller.target == before


def test_a_nan_action_becomes_a_target_that_the_limiter_refuses(panda: RobotModel, controller: ArmController) -> None:
    before = controller.target
    target = controller.command(action(0, math.nan, 0, 0, 0), panda.home_rad)
    assert SafetyLimiter(panda, 50.0).step(target.q_rad).intervened
    assert controller.target == before
    assert np.isfinite(controller.executed(action(0, math.nan, 0, 0, math.nan), panda.home_rad, 4)).all()


def test_executed_is_the_request_itself_without_interventions(panda: RobotModel, controller: ArmController) -> None:
    asked = action(0.3, 0.2, -0.4, 0.9, 1)
    controller.command(asked, panda.home_rad)
    assert controller.executed(asked, panda.home_rad, 0) is asked


def test_executed_leads_to_the_accepted_target(panda: RobotModel, spec: TaskSpec) -> None:
    """Asking for the executed action in the first place would have led to the same target."""
    first, second = ArmController(panda, spec), ArmController(panda, spec)
    first.command(action(1, 0, 0, 0, 0), panda.home_rad)
    half = second.command(action(0.5, 0, 0, 0, 0), panda.home_rad)
    executed = first.executed(action(1, 0, 0, 0, 0), half.q_rad, interventions=2)
    assert executed == pytest.approx([0.5, 0, 0, 0, 0], abs=0.02)
    assert first.target[0] == pytest.approx(second.target[0], abs=1e-3)


def test_a_hold_is_an_action_of_nothing(panda: RobotModel, controller: ArmController) -> None:
    controller.command(action(1, 1, -1, 1, 1), panda.home_rad)
    executed = controller.executed(action(1, 1, -1, 1, 1), panda.home_rad, interventions=4)
    assert executed[:4] == pytest.approx([0, 0, 0, 0], abs=1e-3)


def test_a_short_joint_range_is_not_locked(panda: RobotModel) -> None:
    home = panda.home_rad[-1]
    limits = msgspec.structs.replace(
        panda.limits,
        position_lower_rad=(*panda.limits.position_lower_rad[:-1], home - 0.03),
        position_upper_rad=(*panda.limits.position_upper_rad[:-1], home + 0.03),
    )
    kept = with_margin(msgspec.structs.replace(panda, limits=limits)).limits
    assert kept.position_lower_rad[-1] == pytest.approx(home - 0.015)
    assert kept.position_upper_rad[-1] == pytest.approx(home + 0.015)


def test_yaw_does_not_jump_where_home_points_backward(spec: TaskSpec) -> None:
    """The last joint's home is half a turn away, and the arm begins on the other side of half a turn."""
    ur5e = load_robot("ur5e")
    turned = msgspec.structs.replace(ur5e, home_rad=(*ur5e.home_rad[:5], ur5e.home_rad[5] + math.pi))
    controller = ArmController(turned, spec)
    for side in (-0.02, 0.02):
        controller.reset((*turned.home_rad[:5], turned.home_rad[5] + side))
        before = controller.target[1]
        controller.command(np.zeros(5, np.float32), (*turned.home_rad[:5], turned.home_rad[5] + side))
        assert controller.target[1] == pytest.approx(before, abs=1e-6)
