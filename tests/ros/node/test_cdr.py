"""Messages packed and unpacked as numbers are the same as those that ROS converts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from builtin_interfaces.msg import Duration
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, MultiArrayLayout
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from floop_interfaces import msg
from floop_robot.ros.node.cdr import MAX_SHAPES, CdrLayout, CdrReader, CdrWriter
from floop_robot.ros.node.stamps import header

Q = (0.1, -0.2, 0.3)
POINT = JointTrajectoryPoint(positions=Q, velocities=Q, time_from_start=Duration(sec=1, nanosec=5))
MESSAGES = (
    JointState(header=header("base"), name=["a", "bc", "\u00e9"], position=Q, velocity=Q),
    JointState(name=["k"], effort=[1.5]),
    JointTrajectory(joint_names=["a", "b", "c"], points=[POINT, JointTrajectoryPoint(positions=Q)]),
    Float64MultiArray(layout=MultiArrayLayout(dim=[MultiArrayDimension(label="x", size=3)], data_offset=1), data=Q),
    msg.GripperState(header=header(), width_m=0.05, effort_n=-3.0),
    msg.PerceivedObject(header=header("base"), present=True, object_class="box"),
    msg.SafetyStatus(mode="holding", cause="none", q_rad=Q, target_seq=-1, estop=True, fault="x", missed_ticks=2**63),
    msg.EstopState(latched=True, who="me", stop_id="7"),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_is_the_same_by_either_way(message: Any) -> None:
    layout, data = CdrLayout(message), bytes(serialize_message(message))
    numbers = layout.unpack(data)
    assert numbers is not None
    assert deserialize_message(layout.pack(*numbers), type(message)) == message
    read = CdrReader(type(message)).read(data)
    assert read.numbers == numbers and read.layout.message == message


def test_fields_are_found_by_their_path() -> None:
    message = CdrReader(JointTrajectory).read(bytes(serialize_message(MESSAGES[2])))
    assert message["points.0.positions"] == Q and message["points.1.velocities"] == ()
    assert message["points.0.time_from_start"] == (1, 5) and message["points.0.time_from_start.sec"] == 1


def test_other_strings_or_lengths_are_another_shape() -> None:
    layout = CdrLayout(JointState(name=["a"], position=[1.0]))
    for other in (JointState(name=["b"], position=[1.0]), JointState(name=["a"], position=[1.0, 2.0]), JointState()):
        assert layout.unpack(bytes(serialize_message(other))) is None


def test_a_reader_knows_shapes_again() -> None:
    reader = CdrReader(JointState)
    data = [bytes(serialize_message(JointState(name=[name], position=[1.0]))) for name in "ab"]
    first, second, again = reader.read(data[0]), reader.read(data[1]), reader.read(data[0])
    assert first.layout is again.layout is not second.layout
    assert (again.layout.message.name, second.layout.message.name) == (["a"], ["b"])


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x00\x00", b"\x00\x01\x00\x00" + b"\xff" * 40])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="JointState"):
        CdrReader(JointState).read(data)


def test_a_writer_takes_any_number_of_shapes() -> None:
    writer = CdrWriter()
    for i in range(2 * MAX_SHAPES):
        data = writer.write(i, lambda i=i: JointState(name=[f"joint_{i}"], position=[0.0]), (0, 0, 1.0 * i))
        assert deserialize_message(data, JointState) == JointState(name=[f"joint_{i}"], position=[1.0 * i])


@pytest.mark.parametrize("text", [b"\xe4ase", b"a\x00b"])
def test_text_that_ros_writes_in_another_way_is_converted_by_ros(text: bytes) -> None:
    """Latin-1, or a zero within: serialised again it is not what arrived."""
    message = JointState(name=["a"], position=[1.5])
    message.header.frame_id = "x" * len(text)
    message.header.stamp.sec = 7
    data = bytes(serialize_message(message)).replace(b"x" * len(text), text)
    reader = CdrReader(JointState)
    for _ in range(2):
        read = reader.read(data)
        assert (read["header.stamp.sec"], read["position"]) == (7, (1.5,))


def test_a_message_takes_as_many_numbers_as_it_has() -> None:
    layout = CdrLayout(JointState(name=["a"], position=[1.0]))
    assert layout.pack(0, 0, 2.0)
    with pytest.raises(ValueError, match="4 numbers for a JointState of 3"):
        layout.pack(0, 0, 2.0, 3.0)
