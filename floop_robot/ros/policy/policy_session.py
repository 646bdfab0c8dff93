"""PolicySession: what a policy node has while it is configured, and the control loop it runs while it is active."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.loop_interface import LoopInterface, LoopView
from floop_robot.robot.messages import JointTarget, SafetyState
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.policy_loop import PolicyLoop, PolicyPorts
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.ros.arm.convert import safety_from_msg, target_to_msg
from floop_robot.ros.arm.driver_config import DriverConfig
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.io import PolledCallbackGroup, RosPublisher, RosSubscriber
from floop_robot.ros.node.qos import COMMAND, SENSOR
from floop_robot.ros.node.robot_parameters import POLICY_PHASE, phase_s
from floop_robot.ros.policy.episode_reset_client import EpisodeResetClient
from floop_robot.services.main_loop import SHUTDOWN_TICKS_S, RobotArguments
from floop_robot.services.policy import DRAIN_S, PolicyProcess, RobotStats

STATES_SILENT_S: Final = 1.0
"""Joint states that come after a silence of this many seconds count as another driver's."""


class PolicyOutputs:
    """The node's own outputs of topics and services; they outlive every session."""

    def __init__(self, node: Node) -> None:
        self.targets: RosPublisher[JointTarget, msg.JointTarget] = RosPublisher(
            node, msg.JointTarget, topics.JOINT_TARGET, COMMAND, target_to_msg
        )
        self.resets = EpisodeResetClient(node)


class PolicySession:
    """Opened by configure, closed by cleanup; `start` and `stop` are activate and deactivate.

    Raises `FloopError`s when model, task, driver description, folder or token file can't be used.
    """

    def __init__(
        self,
        node: Node,
        outputs: PolicyOutputs,
        arguments: RobotArguments,
        driver: Callable[[PolicyProcess], DriverConfig],
        notify: Callable[[], None],
        notice: Callable[[str], None],
    ) -> None:
        self._node, self._outputs, self._notify = node, outputs, notify
        config = arguments.config
        self.tokens = OperatorTokens(Path(config.operators) if config.operators else None)
        self.side = PolicyProcess(arguments, notice)
        self.robot = arguments.robot
        self.kinematics = Kinematics(self.side.model)
        self.control: PolicyLoop | None = None
        self.interface: LoopInterface | None = None
        """Of the last control loop; its last reports can be taken after it ended. None before the first."""
        self._loop: RateLoop | None = None
        try:
            self._states = RobotStateSubscriber(node, self.side.model, driver(self.side), STATES_SILENT_S, True)
            self._safety: RosSubscriber[msg.SafetyStatus, SafetyState] = RosSubscriber(
                node, msg.SafetyStatus, topics.SAFETY_STATUS, SENSOR, safety_from_msg
            )
        except BaseException:
            self.close(0.0)
            raise
        self._stats = self.side.stats_file()
        self._stats_lock = threading.Lock()

    @property
    def boot_id(self) -> str:
        """Boot of the spool in force."""
        return self.side.uploader.info.boot_id

    @property
    def is_active(self) -> bool:
        """A control loop runs."""
        return self.control is not None

    @property
    def view(self) -> LoopView:
        """The last step's; an empty one while inactive."""
        return self.side.drain_state.view

    @property
    def next_episode(self) -> int:
        """Every number below belongs to an episode that has ended, or to none."""
        if self.is_active and self.view.episode:
            return self.view.episode
        return time.time_ns() // 1_000_000  # what the first episode of a control loop is numbered by

    @property
    def failure(self) -> BaseException | None:
        """What ended the control loop, if a step of it failed."""
        return self._loop.failure if self._loop else None

    @property
    def safety_refused(self) -> int:
        """Messages of safety that did not convert."""
        return self._safety.refused

    def start(self, auto_start: bool) -> None:
        """Run the control loop."""
        ports = PolicyPorts(self._states, self._safety, self._outputs.targets, self._outputs.resets, self.side.uploader)
        self.interface = LoopInterface(auto_start, self._notify)
        control = self.side.control(ports, self.interface)
        self._states.receive(), self._safety.receive()  # what waits is from before

        def tick(now_s: float) -> None:
            try:
                control.tick(now_s)
            except BaseException:
                self._notify()
                raise

        self._loop = self.side.rate_loop(tick, phase_s(self.side.arguments, POLICY_PHASE))
        gc.collect()
        gc.freeze()  # what start-up made is never looked at again: collections in the loop stay below 0.1 ms
        self._loop.start()
        self.control = control

    def stop(self) -> None:
        """End the episode that runs as aborted, and the loop: no further target is sent. Raises what a step raised."""
        if self._loop is None or self.control is None:
            return
        try:
            self.control.must_end = True
            self._loop.join(SHUTDOWN_TICKS_S)
        finally:
            self._loop.stop()
            self.write_stats(force=True)
            self._outputs.resets.forget()
            loop, self._loop = self._loop, None
            self.side.drain_state.attach(None)
            self.control = None
            loop.join(SHUTDOWN_TICKS_S)

    def current_stats(self) -> RobotStats | None:
        """Counts so far; None while inactive."""
        control, loop = self.control, self._loop
        return self.side.current_stats(control, loop) if control and loop else None

    def write_stats(self, *, force: bool = False) -> None:
        """Write the figures where `floop status` reads them, when it is time to; from any thread."""
        with self._stats_lock:
            if (figures := self.current_stats()) is not None:
                self._stats.write(figures, force=force)

    def close(self, drain_s: float = DRAIN_S) -> None:
        """Leave the topics and give up the spool; records get `drain_s` to reach ingest."""
        for subscription in list(self._node.subscriptions):
            if isinstance(subscription.callback_group, PolledCallbackGroup):
                self._node.destroy_subscription(subscription)
        self.side.close(drain_s)
