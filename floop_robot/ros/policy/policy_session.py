"""PolicySession: a configured policy node's process; PolicyTopics: what links it to its robot."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.episode_state_machine import NO_OBJECT, NO_TOTE
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.loop_interface import LoopInterface, LoopView
from floop_robot.robot.messages import SafetyState
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.perception import PerceptionReport
from floop_robot.robot.policy_loop import PolicyLink
from floop_robot.ros.arm.convert import safety_from_cdr
from floop_robot.ros.arm.joint_commands import JointTargetPublisher
from floop_robot.ros.arm.perception_subscriber import PerceptionSubscriber
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import CdrSubscriber, PolledCallbackGroup
from floop_robot.ros.node.qos import LATEST
from floop_robot.ros.node.robot_parameters import POLICY_PHASE, phase_s
from floop_robot.ros.policy.episode_reset_client import EpisodeResetClient
from floop_robot.ros.policy.marker_publisher import MarkerScene
from floop_robot.services.main_loop import RobotArguments
from floop_robot.services.policy import DRAIN_S, STATES_SILENT_S, PolicyProcess
from floop_robot.spec.driver_config import DriverConfig, load_driver
from floop_robot.spec.robot_model import RobotModel


class PolicyTopics:
    """Topics and services of the policy process; what goes out outlives every session."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._targets = JointTargetPublisher(node)
        self.resets = EpisodeResetClient(node)
        self._safety: CdrSubscriber[SafetyState] | None = None
        self.perception: PerceptionSubscriber | None = None

    def subscribe(self, model: RobotModel, driver: DriverConfig, robot: str) -> None:
        """Listen to driver, perception and safety. Raises `ConfigError` where a message type is not installed."""
        self.perception = PerceptionSubscriber(self._node, model, driver, robot)
        self._states = RobotStateSubscriber(self._node, model, driver, STATES_SILENT_S, self.perception)
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
        states = self._states
        return PolicyLink(states, self._safety, self._targets, self.resets, states.faults, states.reports_effort)

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
            self.driver = load_driver(driver, self.model)
            robot_topics.subscribe(self.model, self.driver, self.robot)
        except BaseException:
            self.close(0.0)
            raise

    @property
    def perception(self) -> PerceptionReport:
        """What became of perception's messages."""
        perception = self.topics.perception
        return perception.report(time.monotonic()) if perception else PerceptionReport()

    def scene(self) -> MarkerScene:
        """What markers show."""
        view, limits, perception = self.view, self.model.limits, self.topics.perception
        target_q = view.target_q_rad
        return MarkerScene(
            frame=self.driver.base_frame(self.model, self.robot),
            text=f"{self.robot}  v{view.version}  {'e-stop' if view.estop else view.state.value}",
            is_stopped=view.estop,
            workspace_low_m=limits.workspace_low_m,
            workspace_high_m=limits.workspace_high_m,
            target_m=self.kinematics.position(target_q) if len(target_q) == len(self.model.joint_names) else None,
            object=perception.seen(time.monotonic()) if perception else None,
        )

    def waiting_reason(self, view: LoopView) -> str:
        """As without ROS, and why an object or a tote is not seen."""
        reason = super().waiting_reason(view)
        is_blind = NO_OBJECT in view.missing or NO_TOTE in view.missing
        return f"{reason}: {problem}" if is_blind and (problem := self.perception.problem) else reason

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
