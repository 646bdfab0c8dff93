"""Frames of the table and of TF: right places, and a reason for each that is not known."""

from __future__ import annotations

import pytest

from floop_robot.robot.frame_tree import MAX_TF_FRAMES, FrameError, FrameTree, TransformPending
from floop_robot.robot.transform import Transform, from_rpy, turn
from floop_robot.spec.frame_config import FixedFrame

S = 1_000_000_000
UP = (0.0, 0.0, 1.0)


def at(x: float, y: float = 0.0, z: float = 0.0) -> Transform:
    return Transform((x, y, z))


@pytest.fixture
def tree() -> FrameTree:
    frames = {
        "camera": FixedFrame(parent="mast", xyz_m=(0.0, 0.0, 0.5)),
        "/mast": FixedFrame(xyz_m=(1.0, 0.0, 0.0), rpy_rad=(0.0, 0.0, 1.5707963267948966)),
        "vendor_base": FixedFrame(parent="/base_link"),
    }
    return FrameTree("base_link", "robot_1/", frames, also="panda_link0")


@pytest.mark.parametrize(
    "name", ["base_link", "/base_link", "robot_1/base_link", "/robot_1/base_link", "vendor_base", "panda_link0"]
)
def test_the_base_is_known_by_each_of_its_names(tree: FrameTree, name: str) -> None:
    assert tree.from_table(name) == Transform()


@pytest.mark.parametrize("name", ["camera", "/camera", "robot_1/camera"])
def test_a_frame_of_the_table_stands_where_its_parents_put_it(tree: FrameTree, name: str) -> None:
    found = tree.from_table(name)
    assert found is not None
    assert (found @ at(0.1)).position_m == pytest.approx((1.0, 0.1, 0.5))


@pytest.mark.parametrize("name", ["robot_2/base_link", "robot_2/camera", "other", "", "base_link/", "robot_1"])
def test_another_robots_frames_are_none_of_the_table(tree: FrameTree, name: str) -> None:
    assert tree.from_table(name) is None


def test_tf_leads_to_the_base_up_and_down(tree: FrameTree) -> None:
    tree.add("world", "robot_1/base_link", at(2.0), None)
    tree.add("/world", "/wall", at(2.0, 1.0), None)
    tree.add("wall", "cell_camera", Transform((0.0, 0.0, 1.0), turn(UP, 3.141592653589793).rotation), None)
    tree.add("robot_1/base_link", "robot_1/tool0", at(0.4), 5 * S)
    assert tree.from_tf("/cell_camera", 0).position_m == pytest.approx((0.0, 1.0, 1.0))
    assert (tree.from_tf("cell_camera", 123) @ at(0.1)).position_m == pytest.approx((-0.1, 1.0, 1.0))
    assert tree.from_tf("robot_1/tool0", 5 * S).position_m == pytest.approx((0.4, 0.0, 0.0))
    assert tree.from_tf("world", 0).position_m == pytest.approx((-2.0, 0.0, 0.0))


def test_a_moving_camera_is_where_it_was_when_it_looked(tree: FrameTree) -> None:
    for i in range(5):
        tree.add("robot_1/base_link", "wrist", Transform((0.1 * i, 0.0, 0.0), turn(UP, 0.2 * i).rotation), i * S)
    tree.add("wrist", "eye", at(0.0, 0.0, 0.05), None)
    assert tree.from_tf("eye", 2 * S + S // 2).position_m == pytest.approx((0.25, 0.0, 0.05))
    with pytest.raises(TransformPending, match=r"1 s newer than the newest transform of wrist"):
        tree.from_tf("eye", 5 * S)
    with pytest.raises(FrameError, match=r"older than all transforms of wrist; compare the clocks"):
        tree.from_tf("eye", -S)
    with pytest.raises(FrameError, match="stamp is not set, and wrist may move"):
        tree.from_tf("eye", 0)
    # The base moves beside it, and nothing about that matters.
    tree.add("map", "robot_1/base_link", at(0.0), 1)
    assert tree.from_tf("eye", 3 * S).position_m == pytest.approx((0.3, 0.0, 0.05))


def test_time_that_begins_anew_forgets_what_was_before(tree: FrameTree) -> None:
    tree.add("robot_1/base_link", "wrist", at(9.0), 100 * S)
    tree.add("robot_1/base_link", "wrist", at(8.0), 100 * S - 5)  # out of order
    tree.add("robot_1/base_link", "wrist", at(0.1), 1 * S)
    assert tree.from_tf("wrist", 1 * S).position_m == (0.1, 0.0, 0.0)
    with pytest.raises(TransformPending):
        tree.from_tf("wrist", 100 * S)


def test_reasons_name_the_frame_and_the_nearest_name(tree: FrameTree) -> None:
    with pytest.raises(
        FrameError, match=r"'lens' is neither robot_1/base_link nor in frames of the driver file, and no TF was heard"
    ):
        tree.from_tf("lens", 0)
    tree.add("base_link", "robot_1/lens", at(1.0), None)
    with pytest.raises(FrameError, match=r"'lens' is neither .*; TF does not have it; TF has 'robot_1/lens'"):
        tree.from_tf("lens", 0)
    with pytest.raises(FrameError, match=r"does not connect robot_1/lens with robot_1/base_link; TF has 'base_link'"):
        tree.from_tf("robot_1/lens", 0)
    with pytest.raises(FrameError, match="see frame_prefix in the driver file"):
        tree.from_tf("robot_1/lens", 0)


def test_tf_that_contradicts_itself_steers_nothing(tree: FrameTree) -> None:
    tree.add("a", "b", at(1.0), None)
    tree.add("b", "a", at(1.0), None)
    with pytest.raises(FrameError, match="circle"):
        tree.from_tf("a", 0)
    for _ in range(2):
        tree.add("robot_1/base_link", "lens", at(1.0), None)
        tree.add("wall", "lens", at(2.0), None)
    tree.add("robot_1/base_link", "wall", at(1.0), None)
    with pytest.raises(FrameError, match="two parents"):
        tree.from_tf("lens", 0)
    tree.add("own", "own", at(1.0), None)
    tree.add("", "lost", at(1.0), None)
    assert tree.left_out == 2


def test_made_up_names_fill_no_memory(tree: FrameTree) -> None:
    for i in range(MAX_TF_FRAMES + 50):
        tree.add("robot_1/base_link", f"frame_{i}", at(1.0), None)
    assert tree.left_out == 50
    for i in range(10_000):
        tree.add("robot_1/base_link", "frame_0", at(1.0), i)
    assert len(tree._links["frame_0"].samples) <= 2_000


def test_rpy_is_that_of_a_urdf() -> None:
    found = from_rpy((0.0, 0.0, 0.0), (0.3, 0.0, 0.0)) @ at(0.0, 0.0, 1.0)
    assert found.position_m == pytest.approx((0.0, -0.29552, 0.95534), abs=1e-5)
