"""A policy node whose parts fail: it tells, gives everything up, and comes back.

The node runs in the test's process, where parts can be broken; arm and safety are real processes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

rclpy = pytest.importorskip("rclpy", reason=NO_ROS)
if importlib.util.find_spec("floop_interfaces.msg._audit_entry") is None:
    pytest.skip(NO_INTERFACES, allow_module_level=True)

from action_msgs.msg import GoalStatus  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.msg import TransitionEvent  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from floop_interfaces.action import ExecuteTask  # noqa: E402
from floop_interfaces.msg import JointTarget  # noqa: E402
from floop_robot.ros.node.qos import COMMAND, EVENTS  # noqa: E402
from floop_robot.ros.policy.policy_node import PolicyNode  # noqa: E402
from floop_robot.spec.layout import Vector  # noqa: E402
from tests.support.ros.peer import Peer, Spun  # noqa: E402
from tests.support.ros.robot_rig import ROBOT, RobotRig  # noqa: E402


class Broken:
    """A policy that no check foresaw."""

    def mean(self, observation: Vector) -> Vector:
        raise RuntimeError("the actor broke")

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        raise RuntimeError("the actor broke")


class Inside(Spun[PolicyNode]):
    """A policy node in this process, and what it says of its life."""

    def __init__(self, rig: RobotRig, peer: Peer, *, autostart: bool) -> None:
        self.events = peer.listen(TransitionEvent, f"/{ROBOT}/policy_node/transition_event", EVENTS)
        self.health = peer.listen(DiagnosticArray, "/diagnostics", EVENTS)
        self.targets = peer.listen(JointTarget, f"/{ROBOT}/joint_target", COMMAND)
        given = {"config": str(rig.config_file), "autostart": autostart}
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        super().__init__(
            peer.context,
            lambda context: PolicyNode(context=context, namespace=f"/{ROBOT}", parameter_overrides=overrides),
        )

    def passed(self) -> list[str]:
        """The states it came to, in order."""
        return [e.goal_state.label for e in self.events]

    def errors(self) -> list[str]:
        """Errors of its life cycle on `/diagnostics`."""
        return [
            s.message
            for array in self.health
            for s in array.status
            if s.name.endswith("life cycle") and s.level == DiagnosticStatus.ERROR
        ]

    def leave(self) -> None:
        self.node.request_shutdown()
        assert self.node.gone.wait(5.0)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[tuple[RobotRig, Peer]]:
    with reserved_domain() as domain:
        rig, peer = RobotRig(tmp_path, domain), Peer(domain)
        rig.install()
        try:
            yield rig, peer
        finally:
            peer.close()
            rig.close()


def test_a_control_loop_that_breaks_is_reported_and_replaced(parts: tuple[RobotRig, Peer]) -> None:
    rig, peer = parts
    rig.start_arm()
    inside = Inside(rig, peer, autostart=True)
    try:
        wait_for(lambda: inside.targets, what="an episode")
        session = inside.node.session
        assert session is not None
        session.policy_buffer.offer(8, Broken())  # past every check
        wait_for(lambda: "errorprocessing" in inside.passed(), what="error processing")
        wait_for(lambda: inside.passed()[-1] == "active", 20.0, "an active node again")
        after = inside.passed()[inside.passed().index("errorprocessing") :]
        assert after == ["errorprocessing", "unconfigured", "configuring", "inactive", "activating", "active"]
        assert inside.errors()
        assert set(inside.errors()) == {"deactivate: the actor broke"}
        sent = len(inside.targets)
        wait_for(lambda: len(inside.targets) > sent + 3, what="an episode of the new loop")
        assert inside.targets[-1].policy_version == 7
        assert inside.node.session is not session
        inside.leave()
        wait_for(lambda: inside.passed()[-1] == "unconfigured", what="a node that has cleaned up")
        assert not rig.spool_lock()
    finally:
        inside.close()


def test_configure_that_breaks_goes_through_error_processing(parts: tuple[RobotRig, Peer]) -> None:
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState

    rig, peer = parts
    inside = Inside(rig, peer, autostart=False)

    def change(transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(peer.call(ChangeState, f"/{ROBOT}/policy_node/change_state", request).success)

    def breaks(*_: Any) -> None:
        raise RuntimeError("nobody foresaw this")

    try:
        sound, inside.node._configure = inside.node._configure, breaks  # type: ignore[method-assign]
        assert not change(Transition.TRANSITION_CONFIGURE)
        wait_for(lambda: inside.passed() == ["configuring", "errorprocessing", "unconfigured"], what="its way")
        wait_for(lambda: inside.errors() == ["configure: nobody foresaw this"], what="the error")
        inside.node._configure = sound  # type: ignore[method-assign]
        assert change(Transition.TRANSITION_CONFIGURE)
        broken, inside.node._activate = inside.node._activate, breaks  # type: ignore[method-assign]
        assert not change(Transition.TRANSITION_ACTIVATE)
        wait_for(lambda: inside.passed()[-1] == "unconfigured", what="its way back")
        assert not rig.spool_lock()  # given up on the way
        inside.node._activate = broken  # type: ignore[method-assign]
        assert change(Transition.TRANSITION_CONFIGURE)
        assert change(Transition.TRANSITION_ACTIVATE)
        assert inside.node.last_error == ""
    finally:
        inside.close()


def test_a_cancel_that_comes_before_the_task_begins_holds_the_robot_too(parts: tuple[RobotRig, Peer]) -> None:
    rig, peer = parts
    rig.start_arm()
    inside = Inside(rig, peer, autostart=True)
    client = peer.action_client(ExecuteTask, f"/{ROBOT}/execute_task")
    try:
        wait_for(lambda: inside.targets, what="an episode")
        tasks, condition = inside.node._tasks, inside.node.condition

        async def late(handle: Any) -> Any:
            await condition.wait_for(lambda: bool(handle.is_cancel_requested), 10.0)
            return await tasks._execute(handle)

        tasks._server.register_execute_callback(late)
        assert client.wait_for_server(10.0)
        handle = peer.result(peer.spun(client.send_goal_async, ExecuteTask.Goal(who="ann")))
        assert handle.accepted
        peer.result(peer.spun(handle.cancel_goal_async))
        assert peer.result(peer.spun(handle.get_result_async)).status == GoalStatus.STATUS_CANCELED
        session = inside.node.session
        assert session is not None
        assert "cancelled" in session.drain_state.hold
        inside.leave()
    finally:
        peer.spun(client.destroy)
        inside.close()
