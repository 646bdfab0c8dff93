"""The work cell of an arm whose driver has only standard topics: answers resets, homes the arm, waits for an object.

A cell with a feeder or sensors runs its own node instead. Between it and the policy there are one service and one topic
(docs/ros_interfaces.md, "An episode on a real robot").
"""

from __future__ import annotations

import sys
import time
from functools import partial

from rclpy.node import Node
from std_srvs.srv import Trigger

from floop_interfaces import msg, srv
from floop_robot.robot.cell_state_machine import CellSettings, CellStage, CellStateMachine
from floop_robot.robot.messages import Phase, RobotState
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.ros.arm.convert import target_to_msg
from floop_robot.ros.arm.perception_subscriber import PerceptionSubscriber
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.diagnostics import DiagnosticsPublisher
from floop_robot.ros.node.io import ChangePublisher, Mailbox, RosPublisher, RosSubscriber
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.node_parameters import (
    CELL_PARAMETERS,
    HOME_TOLERANCE,
    HOMING,
    HOMING_SPEED,
    OBJECT_READY,
    OPEN_GRIPPER,
    declare_parameters,
)
from floop_robot.ros.node.parameters import Parameters
from floop_robot.ros.node.qos import COMMAND, LATCHED
from floop_robot.ros.node.robot_parameters import DRIVER, POLICY_PHASE, phase_s, robot_arguments
from floop_robot.ros.node.service_calls import NO_EPISODE, create_services
from floop_robot.ros.node.stamps import header
from floop_robot.services.diagnostics import OK, WARN, DiagnosticItem, state_diagnostics
from floop_robot.services.perception_diagnostics import perception_diagnostics
from floop_robot.spec.driver_config import load_driver
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

SILENT_S = 1.0
"""Joint states that come after a silence of this many seconds count as another driver's."""


class CellInterface:
    """The cell's topics and services; `tick` is what a `RateLoop` calls."""

    def __init__(
        self,
        node: Node,
        core: CellStateMachine,
        states: RobotStateSubscriber,
        perception: PerceptionSubscriber,
        robot: str,
        timeout_s: float,
    ) -> None:
        """A robot state older than `timeout_s` (s) counts as none."""
        self._core, self._states, self._robot, self._timeout_s = core, states, robot, timeout_s
        self._perception = perception
        self._requests: Mailbox[int] = Mailbox()
        self._confirmations: Mailbox[bool] = Mailbox()
        self._targets = RosPublisher(node, msg.JointTarget, topics.JOINT_TARGET, COMMAND, target_to_msg)
        self._phases = ChangePublisher(node, msg.EpisodeState, topics.DRIVER_EPISODE)
        self._state: RobotState | None = None
        self._latches = RosSubscriber(node, msg.EstopState, topics.ESTOP_STATE, LATCHED, _must_stand)
        self._is_stopped = False
        table = ((srv.ResetEpisode, topics.RESET_EPISODE, self._reset), (Trigger, topics.CELL_READY, self._confirm))
        create_services(node, table)

    def tick(self, now_s: float) -> None:
        """One step of the cell."""
        while (episode := self._requests.receive()) is not None:
            self._core.request(episode)
        if self._confirmations.receive():
            self._core.is_confirmed = True
        latch = self._latches.receive()
        self._is_stopped = self._is_stopped if latch is None else latch
        self._state = self._states.receive() or self._state
        fresh = self._state is not None and now_s - self._state.mono_s <= self._timeout_s
        target = self._core.tick(self._state if fresh else None, now_s, self._is_stopped)
        episode, phase = self._core.episode_and_phase
        detail = self._core.stage.value
        if self._core.stage is CellStage.LAYING_OUT and (problem := self._perception.report(now_s).problem):
            detail = f"{detail}; {problem}"
        self._phases.publish(
            msg.EpisodeState(header=header(), robot=self._robot, episode=episode, phase=phase.value, detail=detail)
        )
        if target is not None:
            self._targets.send(target)

    def health(self) -> tuple[DiagnosticItem, ...]:
        """The cell's lines on `/diagnostics`."""
        stage = self._core.stage
        level = OK if stage in (CellStage.READY, CellStage.HOMING) else WARN
        message = stage.value if self._state else "no robot state yet"
        cell = DiagnosticItem("cell", level, message, {"episode": self._core.episode, "stage": stage.value})
        perception = perception_diagnostics(self._perception.report(time.monotonic()))
        return cell, perception, state_diagnostics(self._states.faults)

    def _reset(self, request: srv.ResetEpisode.Request, answer: srv.ResetEpisode.Response) -> srv.ResetEpisode.Response:
        answer.success, answer.message = request.episode != 0, self._core.stage.value
        if answer.success:
            self._requests.send(request.episode)
        else:
            answer.message = NO_EPISODE
        is_ready = answer.success and self._core.episode_and_phase == (request.episode, Phase.READY)
        answer.phase = Phase.READY.value if is_ready else Phase.RESETTING.value
        return answer

    def _confirm(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        answer.success = self._core.stage in (CellStage.HOMING, CellStage.LAYING_OUT)
        answer.message = f"episode {self._core.episode}: {self._core.stage.value}"
        if answer.success:
            self._confirmations.send(True)
        return answer


def _must_stand(state: msg.EstopState, _: float) -> bool:
    return bool(state.latched or state.start_required)


def settings(parameters: Parameters) -> CellSettings:
    """What the node's parameters say now."""
    return CellSettings(
        homes=parameters.get(HOMING) == "safety",
        opens_first=parameters.get(OPEN_GRIPPER) == "first",
        needs_confirmation=parameters.get(OBJECT_READY) == "confirmed",
        speed_rad_s=parameters.get(HOMING_SPEED),
        tolerance_rad=parameters.get(HOME_TOLERANCE),
    )


def serve(ros: RosProcess) -> None:
    """Run until the process is told to stop."""
    node = ros.node("cell_node")
    parameters = declare_parameters(node, CELL_PARAMETERS, on_change=lambda: core.change(settings(parameters)))
    arguments = robot_arguments(node, parameters)
    config = arguments.config
    model, rate_hz = load_robot(config.robot.model), get_task(config.task).spec.policy_rate_hz
    driver = load_driver(parameters.get(DRIVER), model)
    perception = PerceptionSubscriber(node, model, driver, arguments.robot)
    states = RobotStateSubscriber(node, model, driver, SILENT_S, perception)
    core = CellStateMachine(model, settings(parameters), rate_hz)
    cell = CellInterface(node, core, states, perception, arguments.robot, config.robot.observation_timeout_s)
    health = DiagnosticsPublisher(node, arguments.robot, cell.health)
    loop = RateLoop(rate_hz, cell.tick, "cell", phase_s(arguments, POLICY_PHASE), on_failure=ros.stop.set)
    with ros.spinning(node), loop:
        ros.stop.wait()
        loop.stop()
        loop.join()
    del health


main = partial(run, "cell_node", serve)

if __name__ == "__main__":
    sys.exit(main())
