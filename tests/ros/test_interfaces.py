"""The built interfaces carry what is put into them, between two processes over DDS."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

rclpy = pytest.importorskip("rclpy", reason=NO_ROS)
# The folder of sources would import as a namespace package: ask for something that only the build makes.
if importlib.util.find_spec("floop_interfaces.msg._audit_entry") is None:
    pytest.skip(NO_INTERFACES, allow_module_level=True)

from action_msgs.msg import GoalStatus  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402

from floop_interfaces.action import ExecuteTask  # noqa: E402
from floop_interfaces.msg import EpisodeResult, EpisodeState, PolicyStatus  # noqa: E402
from floop_interfaces.srv import PushPolicy  # noqa: E402
from tests.support.ros.peer import DISCOVERY_S, Peer  # noqa: E402

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "floop_interfaces"


@pytest.fixture
def stand_in(domain: int) -> Iterator[subprocess.Popen[str]]:
    """The other process; must end by itself, silently, within 5 s of SIGINT."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests/support/ros/fleet_stand_in.py")],
        env=os.environ | {"ROS_DOMAIN_ID": str(domain)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.stderr and process.stderr.read()
        yield process
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5.0)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def peer(domain: int) -> Iterator[Peer]:
    peer = Peer(domain)
    yield peer
    peer.close()


def interface_names(kind: str) -> list[str]:
    return sorted(path.stem for path in (SOURCES / kind).glob(f"*.{kind}"))


def test_the_build_fits_the_ros_it_runs_on() -> None:
    built = importlib.metadata.version("floop_interfaces")
    if "+" not in built:
        pytest.skip("floop_interfaces was built by colcon, against the ROS that was sourced")
    assert built.endswith(f"+rclpy{importlib.metadata.version('ros-rclpy')}")


def value_for(kind: str, name: str) -> Any:
    """Something that differs from the default, for a field of a primitive type; None for others."""
    if kind.startswith(("uint", "int")):
        return 3
    return {"string": f"ü {name}", "double": 0.125, "float": 0.5, "boolean": True}.get(kind)


def filled(kind: type[Any]) -> Any:
    """A message with every primitive field set, nested ones too."""
    message = kind()
    for name, field in kind.get_fields_and_field_types().items():
        value = value_for(field, name)
        if value is not None:
            setattr(message, name, value)
        elif field.startswith("sequence<") and value_for(field[9:-1], name) is not None:
            setattr(message, name, [value_for(field[9:-1], name)] * 2)
        elif field.startswith("sequence<"):
            package, inner = field[9:-1].split("/")
            setattr(message, name, [filled(getattr(importlib.import_module(f"{package}.msg"), inner))])
        elif "[" not in field:
            package, inner = field.split("/")
            setattr(message, name, filled(getattr(importlib.import_module(f"{package}.msg"), inner)))
    return message


@pytest.mark.parametrize("name", interface_names("msg"))
def test_each_message_survives_its_serialisation(name: str) -> None:
    kind = getattr(importlib.import_module("floop_interfaces.msg"), name)
    message = filled(kind)
    assert message != kind()
    assert deserialize_message(serialize_message(message), kind) == message


@pytest.mark.parametrize("name", interface_names("srv"))
def test_each_service_survives_its_serialisation(name: str) -> None:
    service = getattr(importlib.import_module("floop_interfaces.srv"), name)
    for kind in (service.Request, service.Response):
        message = filled(kind)
        assert deserialize_message(serialize_message(message), kind) == message


def test_a_service_is_answered_by_another_process(stand_in: subprocess.Popen[str], peer: Peer) -> None:
    client = peer.node.create_client(PushPolicy, "push_policy")
    assert client.wait_for_service(timeout_sec=DISCOVERY_S)
    answer = peer.result(client.call_async(PushPolicy.Request(version=8, scope="fleet", who="ann", why="grip föhn")))
    assert (answer.success, answer.version, answer.message) == (True, 9, "v9 on fleet")
    assert (answer.record.who, answer.record.what, answer.record.detail) == ("ann", "push", "grip föhn")
    assert answer.record.stamp.sec > 0
    assert [(r.robot, r.version, r.silent_s) for r in answer.robots] == [(f"robot_{i}", 9, i / 4) for i in range(1, 5)]
    refused = peer.result(client.call_async(PushPolicy.Request(version=8)))
    assert (refused.success, refused.version, list(refused.robots)) == (False, 0, [])
    assert "who" in refused.message


def test_a_late_joiner_gets_the_latched_policy(stand_in: subprocess.Popen[str], peer: Peer) -> None:
    heard: list[PolicyStatus] = []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    peer.node.create_subscription(PolicyStatus, "policy_status", heard.append, latched)
    wait_for(lambda: bool(heard), DISCOVERY_S)
    assert (heard[0].robot, heard[0].version, heard[0].stage) == ("robot_1", 7, PolicyStatus.STAGE_ACTING)


def test_an_action_reports_and_ends(stand_in: subprocess.Popen[str], peer: Peer) -> None:
    client = peer.action_client(ExecuteTask, "execute_task")
    heard: list[ExecuteTask.Feedback] = []
    goal = ExecuteTask.Goal(task="floop/Pick-v0", time_limit_s=0.2)
    handle = peer.result(peer.spun(client.send_goal_async, goal, feedback_callback=lambda m: heard.append(m.feedback)))
    assert handle.accepted
    answer = peer.result(peer.spun(handle.get_result_async))
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.success
    assert (answer.result.result.steps, answer.result.result.policy_version) == (10, 7)
    assert {f.phase for f in heard} == {EpisodeState.PHASE_RUNNING}
    assert [f.step for f in heard] == sorted({f.step for f in heard})
    other = peer.result(peer.spun(client.send_goal_async, ExecuteTask.Goal(task="floop/Knit-v0")))
    assert not other.accepted
    peer.spun(client.destroy)


def test_an_action_can_be_cancelled(stand_in: subprocess.Popen[str], peer: Peer) -> None:
    client = peer.action_client(ExecuteTask, "execute_task")
    heard: list[ExecuteTask.Feedback] = []
    goal = ExecuteTask.Goal(task="floop/Pick-v0", time_limit_s=60.0)
    handle = peer.result(peer.spun(client.send_goal_async, goal, feedback_callback=lambda m: heard.append(m.feedback)))
    wait_for(lambda: len(heard) >= 3, 10.0)
    peer.result(peer.spun(handle.cancel_goal_async))
    answer = peer.result(peer.spun(handle.get_result_async))
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert not answer.result.success
    assert answer.result.result.outcome == EpisodeResult.OUTCOME_ABORTED
    assert 3 <= answer.result.result.steps < 1000
    peer.spun(client.destroy)
