"""The simulated arm as a process: a real one's topics, both kinds of controller, resets and the simulated clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from geometry_msgs.msg import PoseStamped
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, SetParameters
from rclpy.parameter import Parameter as RosParameter
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from floop_interfaces import msg, srv
from floop_robot.ros.node.qos import COMMAND, EVENTS, LATCHED, SENSOR
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import OBJECT_CLASSES
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, NodeProcess, RobotRig

MODEL = load_robot("panda")
AWAY = (MODEL.home_rad[0] + 0.1, *MODEL.home_rad[1:])


def name(topic: str) -> str:
    return f"/{ROBOT}/{topic}"


class Bench:
    def __init__(self, folder: Path, domain: int, *parameters: str) -> None:
        self.rig, self.peer = RobotRig(folder / "run", domain), Peer(domain)
        self.joints = self.peer.listen(JointState, name("joint_states"), SENSOR)
        self.grippers = self.peer.listen(msg.GripperState, name("gripper_state"), SENSOR)
        self.phases = self.peer.listen(msg.EpisodeState, name("driver/episode_state"), LATCHED)
        self.node: NodeProcess = self.rig.start("sim_robot_node", *parameters)

    def reset(self, episode: int) -> srv.ResetEpisode.Response:
        return self.peer.call(srv.ResetEpisode, name("driver/reset_episode"), srv.ResetEpisode.Request(episode=episode))

    def ready(self, episode: int) -> None:
        answer = self.reset(episode)
        assert answer.success, answer.message
        wait_for(lambda: self.phases and (self.phases[-1].episode, self.phases[-1].phase) == (episode, "ready"))

    def at(self, joint: str) -> float:
        state = self.joints[-1]
        return state.position[state.name.index(joint)]

    def close(self) -> None:
        self.rig.close()
        self.peer.close()


@pytest.fixture
def bench(tmp_path: Path, domain: int) -> Iterator[Bench]:
    bench = Bench(tmp_path, domain, "publish_clock:=true")
    yield bench
    bench.close()


def test_it_speaks_what_a_real_arm_and_its_perception_speak(bench: Bench) -> None:
    objects = bench.peer.listen(msg.PerceivedObject, name("perceived_object"), SENSOR)
    poses = bench.peer.listen(PoseStamped, name("object_pose"), SENSOR)
    clocks = bench.peer.listen(Clock, "/clock", EVENTS)
    bench.ready(1)
    assert bench.reset(1).phase == "ready"  # asking again changes nothing
    assert not bench.reset(0).success
    wait_for(lambda: bench.joints and bench.grippers and poses and clocks)
    state = bench.joints[-1]
    assert set(MODEL.joint_names) | set(MODEL.gripper.joint_names) == set(state.name)
    assert len(state.name) == len(state.position) == len(state.velocity)
    assert [bench.at(n) for n in MODEL.joint_names] == pytest.approx(MODEL.home_rad, abs=0.01)
    assert bench.grippers[-1].width_m == pytest.approx(MODEL.gripper.max_width_m, abs=0.005)
    seen = wait_for(lambda: objects and objects[-1].present and objects[-1])
    assert seen.object_class in OBJECT_CLASSES
    assert seen.header.frame_id == poses[-1].header.frame_id == f"robot_1/{MODEL.base_link}"
    assert 0.0 < seen.pose.position.z < 0.1
    assert poses[-1].pose.position.x == pytest.approx(seen.pose.position.x, abs=0.01)
    assert clocks[-1].clock.sec + clocks[-1].clock.nanosec > 0

    # A JointTrajectoryController: joints by name, in whatever order.
    sender = bench.peer.node.create_publisher(
        JointTrajectory, name("joint_trajectory_controller/joint_trajectory"), COMMAND
    )
    wait_for(lambda: sender.get_subscription_count() == 1)
    point = JointTrajectoryPoint(positions=AWAY[::-1])
    command = JointTrajectory(joint_names=MODEL.joint_names[::-1], points=[point])

    def there() -> bool:
        sender.publish(command)
        return abs(bench.at(MODEL.joint_names[0]) - AWAY[0]) < 0.01

    wait_for(there)
    # What is not a command for this arm is dropped.
    for bad in (JointTrajectory(), JointTrajectory(joint_names=["x"], points=[JointTrajectoryPoint(positions=[9.0])])):
        sender.publish(bad)
    heard = len(bench.joints)
    wait_for(lambda: len(bench.joints) > heard + 10)
    assert bench.at(MODEL.joint_names[0]) == pytest.approx(AWAY[0], abs=0.01)
    bench.node.end()


def test_killed_and_started_again_it_says_so(bench: Bench) -> None:
    bench.ready(3)
    bench.node.kill()
    bench.phases.clear()
    bench.rig.start("sim_robot_node")
    wait_for(lambda: bench.phases and (bench.phases[-1].episode, bench.phases[-1].phase) == (0, "resetting"))


def test_it_takes_forward_commands_where_configured(tmp_path: Path, domain: int) -> None:
    bench = Bench(tmp_path, domain, "driver:=forward_position")
    try:
        bench.ready(1)
        sender = bench.peer.node.create_publisher(
            Float64MultiArray, name("forward_position_controller/commands"), COMMAND
        )
        grip = bench.peer.node.create_publisher(msg.GripperCommand, name("gripper_command"), COMMAND)
        wait_for(lambda: sender.get_subscription_count() == 1 and grip.get_subscription_count() == 1)

        def there() -> bool:
            grip.publish(msg.GripperCommand(width_m=0.02, force_n=20.0))
            sender.publish(Float64MultiArray(data=AWAY))
            narrow = bool(bench.grippers) and bench.grippers[-1].width_m < 0.03
            return narrow and abs(bench.at(MODEL.joint_names[0]) - AWAY[0]) < 0.01

        wait_for(there)
    finally:
        bench.close()


def test_its_parameters_are_described_and_fixed_while_it_runs(bench: Bench) -> None:
    bench.ready(1)
    names = ["config", "robot", "driver", "publish_clock", "publish_tf"]
    found = bench.peer.call(
        DescribeParameters, name("sim_robot_node/describe_parameters"), DescribeParameters.Request(names=names)
    )
    assert all(d.description and "needs a restart" in d.additional_constraints for d in found.descriptors)
    assert found.descriptors[-1].type == ParameterType.PARAMETER_BOOL
    change = RosParameter("publish_clock", value=False).to_parameter_msg()
    answer = bench.peer.call(
        SetParameters, name("sim_robot_node/set_parameters"), SetParameters.Request(parameters=[change])
    )
    assert not answer.results[0].successful
    assert answer.results[0].reason


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("driver:=joint_trajectories", "did you mean 'joint_trajectory'?"),
        ("robot:=robot_9", "unknown robot 'robot_9'"),
        ("config:=/nowhere.yaml", "cannot read /nowhere.yaml"),
        ("publish_clock:=3", "publish_clock is 3; use true or false"),
    ],
)
def test_a_bad_parameter_is_refused_in_one_line(tmp_path: Path, domain: int, parameter: str, words: str) -> None:
    rig = RobotRig(tmp_path / "run", domain)
    try:
        status, text = rig.exit_of(rig.start("sim_robot_node", parameter))
        assert status == 2
        assert words in text
        assert text.count("\n") == 1
    finally:
        rig.close()
