"""PolicySession: a configured policy node's process; PolicyTopics: what links it to its robot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.loop_interface import LoopInterface
from floop_robot.robot.messages import SafetyState
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.policy_loop import PolicyLink
from floop_robot.ros.arm.convert import safety_from_cdr
from floop_robot.ros.arm.joint_commands import JointTargetPublisher
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import CdrSubscriber, PolledCallbackGroup
from floop_robot.ros.node.qos import LATEST
from floop_robot.ros.node.robot_parameters import POLICY_PHASE, phase_s
from floop_robot.ros.policy.episode_reset_client import EpisodeResetClient
from floop_robot.services.main_loop import RobotArguments
from floop_robot.services.policy import DRAIN_S, PolicyProcess
from floop_robot.spec.driver_config import DriverConfig, load_driver
from floop_robot.spec.robot_model import RobotModel

STATES_SILENT_S: Final = 1.0
"""Joint states that come after a silence of this many seconds count as another driver's."""


class PolicyTopics:
    """Topics and services of the policy process; what goes out outlives every session."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._targets = JointTargetPublisher(node)
        self.resets = EpisodeResetClient(node)
        self._safety: CdrSubscriber[SafetyState] | None = None

    def subscribe(self, model: RobotModel, driver: DriverConfig) -> None:
        """Listen to driver, perception and safety."""
        self._states = RobotStateSubscriber(self._node, model, driver, STATES_SILENT_S, True)
        self._safety = CdrSubscriber(self._node, msg.SafetyStatus, topics.SAFETY_STATUS, LATEST, safety_from_cdr)

    def unsubscribe(self) -> None:
        """Listen to nobody."""
        for subscription in list(self._node.subscriptions):
            if isinstance(subscription.callback_group, PolledCallbackGroup):
                self._node.destroy_subscription(subscription)

    def link(self) -> PolicyLink:
        """The link from now on: what waits is from before, and is left out."""
        assert self._safety is not None
        self._states.receive(), self._safety.receive()
        return PolicyLink(self._states, self._safety, self._targets, self.resets)

    @property
    def safety_refused(self) -> int:
        """Messages of safety that did not convert."""
        return self._safety.refused if self._safety else 0


class PolicySession(PolicyProcess):
    """Opened by configure, closed by cleanup; `activate` and `stop` are the node's transitions.

    Raises `FloopError`s when model, task, driver description, folder or token file can't be used.
    """

    def __init__(
        self, arguments: RobotArguments, robot_topics: PolicyTopics, driver: str, notice: Callable[[str], None]
    ) -> None:
        """`driver`: name or path of the driver's description."""
        operators = arguments.config.operators
        self.tokens = OperatorTokens(Path(operators) if operators else None)
        super().__init__(arguments, notice)
        self.topics, self.kinematics = robot_topics, Kinematics(self.model)
        try:
            robot_topics.subscribe(self.model, load_driver(driver, self.model))
        except BaseException:
            self.close(0.0)
            raise

    def activate(self, auto_start: bool, notify: Callable[[], None]) -> None:
        """Run the control loop; `notify` is called when it is worth looking."""
        interface = LoopInterface(auto_start, notify)
        self.start(self.topics.link(), interface, phase_s(self.arguments, POLICY_PHASE), notify)

    def stop(self) -> None:
        """As without ROS; and the driver is asked for no episode any more."""
        try:
            super().stop()
        finally:
            self.topics.resets.forget()

    def close(self, drain_s: float = DRAIN_S) -> None:
        """Leave the topics and give up the spool; records get `drain_s` to reach ingest."""
        self.topics.unsubscribe()
        super().close(drain_s)
