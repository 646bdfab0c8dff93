"""The observer: from what a robot publishes to the numbers a policy sees."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from floop_robot.robot.kinematics import Kinematics, yaw_of
from floop_robot.robot.messages import PerceivedObject, RobotState
from floop_robot.robot.observation_builder import ObservationBuilder
from floop_robot.spec.layout import Vector
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task

ROBOT = load_robot("panda")
Q = (0.2, 0.1, -0.3, -2.0, 0.1, 2.1, 0.9)
DQ = (0.3, -0.2, 0.1, 0.4, -0.5, 0.2, 0.6)
BOX = PerceivedObject(object_class="cylinder", size_m=(0.05, 0.05, 0.06), position_m=(0.5, -0.1, 0.03), yaw_rad=0.4)
STATE = RobotState(
    tick=1, stamp_ns=0, mono_s=0.0, q_rad=Q, dq_rad_s=DQ, gripper_width_m=0.05, gripper_effort_n=12.0, object=BOX,
    tote_m=(0.5, 0.25, 0.0),
)  # fmt: skip
ACTION = (0.1, -0.2, 0.3, -0.4, 0.5)


def see(state: RobotState, task: str = "floop/PickPlace-v0") -> dict[str, Vector]:
    spec = get_task(task).spec
    observation = ObservationBuilder(spec, Kinematics(ROBOT), ROBOT.gripper).observe(
        state, (0.5, 0.0, 0.3), ACTION, (1.0, 2.0, 3.0, 4.0)
    )
    assert observation.dtype == np.float32 and observation.shape == (spec.observation.size,)
    return {name: observation[part] for name, part in spec.observation.slices.items()}


def test_every_field_holds_what_its_name_says() -> None:
    kinematics = Kinematics(ROBOT)
    pose, seen = kinematics.pose(Q), see(STATE)
    tcp = pose[:3, 3]
    assert np.allclose([seen["tcp_x"][0], seen["tcp_y"][0], seen["tcp_z"][0]], tcp, atol=1e-6)
    assert np.allclose(seen["tcp_velocity"], (kinematics.jacobian(Q) @ DQ)[:3], atol=1e-3)
    assert np.allclose(seen["object_from_tcp"], BOX.position_m - tcp, atol=1e-6)
    turn = 2.0 * (BOX.yaw_rad - yaw_of(pose))
    assert np.allclose(seen["yaw_difference"], [math.sin(turn), math.cos(turn)], atol=1e-6)
    assert (seen["gripper_width"][0], seen["gripper_effort"][0]) == pytest.approx((0.05, 12.0))
    assert np.allclose(seen["object_size"], BOX.size_m) and seen["object_height"][0] == pytest.approx(0.03)
    assert seen["object_class"].tolist() == [float(name == "cylinder") for name in OBJECT_CLASSES]
    assert np.allclose(seen["tracking_error"], np.clip((0.5, 0.0, 0.3) - tcp, -0.1, 0.1), atol=1e-6)
    assert np.allclose(seen["previous_action"], ACTION) and seen["context"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert np.allclose(seen["tote_from_object"], [0.0, 0.35, -0.03], atol=1e-6)
    assert np.allclose(seen["yaw_in_tote"], [math.sin(4.0 * BOX.yaw_rad), math.cos(4.0 * BOX.yaw_rad)], atol=1e-6)


def test_a_correction_moves_the_object_and_nothing_else() -> None:
    """A camera that is 3 cm off, corrected, sees what a true one sees."""
    correction = (0.03, -0.026, 0.01)
    off = tuple(p + c for p, c in zip(BOX.position_m, correction, strict=True))
    state = msgspec.structs.replace(STATE, object=msgspec.structs.replace(BOX, position_m=off))
    spec = get_task("floop/PickPlace-v0").spec
    builder = ObservationBuilder(spec, Kinematics(ROBOT), ROBOT.gripper)
    told = builder.observe(state, (0.5, 0.0, 0.3), ACTION, correction_m=correction)
    assert np.allclose(told, builder.observe(STATE, (0.5, 0.0, 0.3), ACTION), atol=1e-6)


def test_half_a_turn_of_the_object_changes_nothing() -> None:
    turned = msgspec.structs.replace(STATE, object=msgspec.structs.replace(BOX, yaw_rad=BOX.yaw_rad + math.pi))
    assert np.allclose(see(turned)["yaw_difference"], see(STATE)["yaw_difference"], atol=1e-6)


def test_a_quarter_turn_of_the_object_changes_nothing_for_the_tote() -> None:
    turned = msgspec.structs.replace(STATE, object=msgspec.structs.replace(BOX, yaw_rad=BOX.yaw_rad - 0.5 * math.pi))
    assert np.allclose(see(turned)["yaw_in_tote"], see(STATE)["yaw_in_tote"], atol=1e-6)


def test_without_an_object_its_fields_are_zero() -> None:
    seen = see(msgspec.structs.replace(STATE, object=None))
    about = ("object_from_tcp", "yaw_difference", "object_height", "object_size", "object_class")
    assert not any(seen[name].any() for name in (*about, "tote_from_object", "yaw_in_tote"))


def test_without_a_tote_its_fields_are_zero() -> None:
    seen = see(msgspec.structs.replace(STATE, tote_m=None))
    assert not seen["tote_from_object"].any() and not seen["yaw_in_tote"].any()


def test_a_class_that_nobody_knew_is_no_class() -> None:
    strange = msgspec.structs.replace(STATE, object=msgspec.structs.replace(BOX, object_class="teapot"))
    assert not see(strange)["object_class"].any()


def test_far_off_numbers_are_clipped_to_the_legal_range() -> None:
    far = msgspec.structs.replace(STATE, object=msgspec.structs.replace(BOX, position_m=(50.0, 0.0, -3.0)))
    layout = get_task("floop/Pick-v0").spec.observation
    seen = see(far, "floop/Pick-v0")
    assert seen["object_from_tcp"][0] == layout.high[layout.slices["object_from_tcp"]][0]
    assert seen["object_height"][0] == 0.0
