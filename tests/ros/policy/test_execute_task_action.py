"""ExecuteTask at a robot of real nodes: done, rejected, cancelled, too late, and cut off by the node's own end."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
if importlib.util.find_spec("floop_interfaces.msg._audit_entry") is None:
    pytest.skip(NO_INTERFACES, allow_module_level=True)

from action_msgs.msg import GoalStatus

from floop_interfaces.action import ExecuteTask
from floop_interfaces.msg import EpisodeResult
from floop_robot.spec.scenario import OBJECT_CLASSES
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.recorded_robot import HERE, Robot, robot_on_call
from tests.support.ros.robot_rig import ROBOT, VERSION

RESULT_S = 30.0


class Tasks:
    """A client of one robot's action."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.feedback: list[Any] = []
        self._client = robot.peer.action_client(ExecuteTask, f"{HERE}/execute_task")

    def send(self, **goal: Any) -> Any:
        """The goal's handle; `feedback` is what is heard of it."""
        self.feedback = heard = []
        asked = ExecuteTask.Goal(**({"who": WHO, "token": TOKEN} | goal))
        peer, send = self.robot.peer, self._client.send_goal_async
        return peer.result(peer.spun(send, asked, feedback_callback=lambda m: heard.append(m.feedback)))

    def over(self, handle: Any) -> Any:
        """The future of the result."""
        return self.robot.peer.spun(handle.get_result_async)

    def result(self, handle: Any) -> Any:
        return self.robot.peer.result(self.over(handle), RESULT_S)

    def cancel(self, handle: Any) -> None:
        self.robot.peer.result(self.robot.peer.spun(handle.cancel_goal_async))

    def running(self) -> Any:
        """The handle of a task under way. On a busy machine the first may be over before a new client hears of it."""
        for _ in range(5):
            handle = self.send()
            assert handle.accepted
            over = self.over(handle)
            wait_for(lambda o=over: o.done() or (self.feedback and self.feedback[-1].step >= 3), 20.0, "a running task")
            if not over.done():
                return handle
            self.robot.wait_ready()
        raise AssertionError("no task was heard of while it ran")

    def close(self) -> None:
        self.robot.peer.spun(self._client.destroy)


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    with robot_on_call(tmp_path_factory.mktemp("robot")) as robot:
        yield robot


@pytest.fixture
def tasks(robot: Robot) -> Iterator[Tasks]:
    robot.wait_ready()
    tasks = Tasks(robot)
    yield tasks
    tasks.close()


def test_a_task_is_done_with_feedback(robot: Robot, tasks: Tasks) -> None:
    number = robot.state.episode
    handle = tasks.send(task="floop/Pick-v0")
    assert handle.accepted
    answer = tasks.result(handle)
    result = answer.result.result
    assert (result.episode, result.robot, result.policy_version) == (number, ROBOT, VERSION)
    assert answer.result.success == (result.outcome == EpisodeResult.OUTCOME_SUCCESS)
    assert answer.status == (GoalStatus.STATUS_SUCCEEDED if answer.result.success else GoalStatus.STATUS_ABORTED)
    assert f"episode {number}: " in answer.result.message
    assert robot.wait_result(number) == result
    ran = [f for f in tasks.feedback if f.episode == number and f.phase == "running"]
    assert len(ran) >= 3
    assert [f.step for f in ran] == sorted(f.step for f in ran)
    assert ran[-1].step > ran[0].step
    assert ran[-1].max_steps >= result.steps
    assert 0.0 < ran[-1].elapsed_s <= result.duration_s
    assert ran[-1].policy_version == VERSION
    heights = {round(f.tcp_m.z, 3) for f in ran}
    assert len(heights) > 1  # it moved
    assert all(0.0 < z < 1.0 for z in heights)
    robot.wait_event("task", f"{number} for ann")
    assert robot.wait_ready().episode == number + 1


@pytest.mark.parametrize(
    "goal",
    [
        {"task": "floop/Knit-v0"},
        {"who": ""},
        {"token": ""},
        {"token": "guess"},
        {"object_class": "unicorn"},
        {"time_limit_s": -1.0},
        {"ready_timeout_s": float("nan")},
    ],
)
def test_what_it_can_not_do_is_rejected(robot: Robot, tasks: Tasks, goal: dict[str, Any]) -> None:
    assert not tasks.send(**goal).accepted
    assert robot.state.detail == "no start was requested"


def test_one_goal_at_a_time_and_no_other_start(robot: Robot, tasks: Tasks) -> None:
    handle = tasks.running()
    heard = tasks.feedback
    assert not tasks.send().accepted
    answer = robot.start()
    assert (answer.success, answer.message) == (False, "a task is being executed; cancel it first")
    assert tasks.result(handle).result.result.episode == heard[-1].episode


def test_cancelling_stops_the_arm_and_it_stays_where_it_is(robot: Robot, tasks: Tasks) -> None:
    handle = tasks.running()
    wait_for(lambda: not robot.stands(), what="a moving arm")
    began = time.monotonic()
    tasks.cancel(handle)
    answer = tasks.result(handle)
    took_s = time.monotonic() - began
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert not answer.result.success
    result = answer.result.result
    assert (result.outcome, result.steps >= 3) == (EpisodeResult.OUTCOME_ABORTED, True)
    assert "cancelled" in result.detail
    assert robot.stands()  # when the answer is there
    assert took_s < 1.5
    wait_for(lambda: "on hold after a cancelled task" in robot.state.detail, what="the reason")
    there = robot.joints[-1].position
    count = len(robot.joints)
    wait_for(lambda: len(robot.joints) > count + 50, what="a second of joint states")
    assert robot.joints[-1].position[:7] == pytest.approx(there[:7], abs=1e-3)
    answer = robot.start()  # asks for a reset first
    assert answer.success, answer.message
    robot.finished()


def test_another_task_may_follow_a_cancelled_one(robot: Robot, tasks: Tasks) -> None:
    handle = tasks.running()
    tasks.cancel(handle)
    first = tasks.result(handle)
    handle = tasks.send()
    assert handle.accepted
    second = tasks.result(handle)
    assert second.result.result.episode > first.result.result.episode > 0
    assert second.result.result.outcome != EpisodeResult.OUTCOME_ABORTED


def test_a_task_waits_for_its_class_and_gives_up_in_time(robot: Robot, tasks: Tasks) -> None:
    # The robot's own word on what lies there is in the result of an episode; what is sure not to lie there:
    never = next(c for c in reversed(OBJECT_CLASSES) if c not in {r.work.object_class for r in robot.results})
    handle = tasks.send(object_class=never, ready_timeout_s=1.0)
    assert handle.accepted
    answer = tasks.result(handle)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert (answer.result.success, answer.result.result.episode) == (False, 0)
    assert answer.result.message.startswith("not ready within 1 s")
    assert {f.episode for f in tasks.feedback} == {0}
    assert robot.wait_ready().phase == "waiting"


def test_a_task_that_waits_can_be_cancelled(robot: Robot, tasks: Tasks) -> None:
    never = next(c for c in reversed(OBJECT_CLASSES) if c not in {r.work.object_class for r in robot.results})
    handle = tasks.send(object_class=never, ready_timeout_s=60.0)
    wait_for(lambda: tasks.feedback, what="feedback")
    tasks.cancel(handle)
    answer = tasks.result(handle)
    assert (answer.status, answer.result.result.episode) == (GoalStatus.STATUS_CANCELED, 0)
    assert robot.drain(False).success  # ends the hold as well


def test_a_time_limit_ends_it_as_a_failure(robot: Robot, tasks: Tasks) -> None:
    handle = tasks.send(time_limit_s=0.5)
    answer = tasks.result(handle)
    result = answer.result.result
    assert (answer.status, answer.result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert (result.outcome, result.detail) == (EpisodeResult.OUTCOME_TIMEOUT, "time limit of 0.5 s")
    assert 0.4 <= result.duration_s <= 1.0


def test_a_latched_or_drained_robot_takes_no_task(robot: Robot, tasks: Tasks) -> None:
    assert robot.drain(True).success
    assert not tasks.send().accepted
    assert robot.drain(False).success
    handle = tasks.running()
    assert robot.estop(True).success
    answer = tasks.result(handle)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert "e-stop is latched" in answer.result.message
    assert not tasks.send().accepted
    assert robot.estop(False).success


def test_a_task_is_answered_when_its_node_ends(robot: Robot, tasks: Tasks) -> None:
    """Last, since it takes the node down and up again."""
    handle = tasks.running()
    future = tasks.over(handle)
    robot.rig.nodes["policy_node"].end()
    answer = robot.peer.result(future)
    assert answer.status == GoalStatus.STATUS_ABORTED
    assert answer.result.result.outcome == EpisodeResult.OUTCOME_ABORTED
    assert answer.result.result.detail == "the control loop is ending"
    robot.rig.start("policy_node", "autostart:=true")  # by themselves now
    wait_for(lambda: tasks._client.wait_for_server(0.1), what="the action")
    robot.wait_phase("running")
    handle = tasks.send()
    assert handle.accepted  # the next one to start is its own
    answer = tasks.result(handle)
    assert answer.result.result.outcome != EpisodeResult.OUTCOME_ABORTED
