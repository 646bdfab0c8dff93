"""The cell beside an arm whose driver speaks only standard topics: answers resets, homes the arm, waits for an object.

A real cell with a feeder, a sensor or other needs runs its own node in its place: the service and the topic are all
there is between it and the policy (docs/ros_interfaces.md, "An episode on a real robot").
"""

from __future__ import annotations

import sys
from typing import Any

from std_srvs.srv import Trigger

from floop_interfaces import msg, srv
from floop_robot.robot.messages import Phase, RobotState
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.ros.arm.convert import target_to_msg
from floop_robot.ros.arm.driver_config import load_driver
from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.cell.cell_state_machine import CellSettings, CellStage, CellStateMachine
from floop_robot.ros.node import topics
from floop_robot.ros.node.diagnostics import OK, WARN, DiagnosticItem, DiagnosticsPublisher
from floop_robot.ros.node.io import Mailbox, PolledSubscription, RosPublisher
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.ros.node.qos import CALLS, COMMAND, LATCHED
from floop_robot.ros.node.robot_parameters import CONFIG, DRIVER, POLICY_PHASE, ROBOT, phase_s, robot_arguments
from floop_robot.ros.node.stamps import header
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

PARAMETERS = (
    CONFIG,
    ROBOT,
    DRIVER,
    Parameter(
        "homing",
        "safety",
        "Who brings the arm home between episodes: 'safety', by slow targets through the safety node, or 'outside', "
        "the cell's own means or a person, which is waited for.",
        choices=("safety", "outside"),
    ),
    Parameter("homing_speed", 0.3, "Fastest joint on the way home, rad/s.", 0.02, 1.0),
    Parameter("home_tolerance", 0.03, "Joints this near to home count as there, rad.", 0.001, 0.2),
    Parameter(
        "open_gripper",
        "home",
        "Where the gripper lets go of what it holds: 'home', or 'first', before the arm moves.",
        choices=("home", "first"),
    ),
    Parameter(
        "object_ready",
        "seen",
        "When an object counts as ready: 'seen', as soon as an object is perceived, or 'confirmed', when somebody also "
        "calls the service cell/ready.",
        choices=("seen", "confirmed"),
    ),
)
SILENT_S = 1.0


class CellInterface:
    """The cell's topics and services; `tick` is what a `RateLoop` calls."""

    def __init__(
        self, ros_node: Any, core: CellStateMachine, states: RobotStateSubscriber, robot: str, timeout_s: float
    ) -> None:
        self._core, self._states, self._robot, self._timeout_s = core, states, robot, timeout_s
        self._requests: Mailbox[int] = Mailbox()
        self._confirmations: Mailbox[bool] = Mailbox()
        self._targets = RosPublisher(ros_node, msg.JointTarget, topics.JOINT_TARGET, COMMAND, target_to_msg)
        self._phases = ros_node.create_publisher(msg.EpisodeState, topics.DRIVER_EPISODE, LATCHED)
        self._last_published: tuple[int, Phase, CellStage] | None = None
        self._state: RobotState | None = None
        self._latches = PolledSubscription(ros_node, msg.EstopState, topics.ESTOP_STATE, LATCHED)
        self._is_stopped = False
        self._services = (
            ros_node.create_service(srv.ResetEpisode, topics.RESET_EPISODE, self._reset, qos_profile=CALLS),
            ros_node.create_service(Trigger, topics.CELL_READY, self._confirm, qos_profile=CALLS),
        )

    def tick(self, now_s: float) -> None:
        """One step of the cell."""
        while (episode := self._requests.receive()) is not None:
            self._core.request(episode)
        if self._confirmations.receive():
            self._core.is_confirmed = True
        for latch, _ in self._latches.take():
            self._is_stopped = latch.latched
        self._state = self._states.receive() or self._state
        fresh = self._state is not None and now_s - self._state.mono_s <= self._timeout_s
        target = self._core.tick(self._state if fresh else None, now_s, self._is_stopped)
        published = (*self._core.episode_and_phase, self._core.stage)
        if published != self._last_published:
            self._last_published = published
            self._phases.publish(
                msg.EpisodeState(
                    header=header(),
                    robot=self._robot,
                    episode=published[0],
                    phase=published[1].value,
                    detail=published[2].value,
                )
            )
        if target is not None:
            self._targets.send(target)

    def health(self) -> tuple[DiagnosticItem]:
        """What the cell is at."""
        stage, silent = self._core.stage, self._state is None
        level = OK if stage in (CellStage.READY, CellStage.HOMING) else WARN
        values = (("episode", str(self._core.episode)), ("stage", stage.value))
        return (DiagnosticItem("cell", level, "no robot state yet" if silent else stage.value, values),)

    def _reset(
        self, request: srv.ResetEpisode.Request, response: srv.ResetEpisode.Response
    ) -> srv.ResetEpisode.Response:
        if request.episode == 0:
            response.success, response.message = False, "episode 0 is none; numbers begin at 1"
            response.phase = Phase.RESETTING.value
            return response
        self._requests.send(request.episode)
        is_ready = self._core.episode_and_phase == (request.episode, Phase.READY)
        response.success, response.message = True, self._core.stage.value
        response.phase = Phase.READY.value if is_ready else Phase.RESETTING.value
        return response

    def _confirm(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._core.stage in (CellStage.HOMING, CellStage.LAYING_OUT)
        response.message = f"episode {self._core.episode}: {self._core.stage.value}"
        if response.success:
            self._confirmations.send(True)
        return response


def serve(ros: RosProcess) -> None:
    """Run until the process is told to stop."""
    node = ros.node("cell_node")
    parameters = Parameters(node, PARAMETERS)
    arguments = robot_arguments(node, parameters)
    config = arguments.config
    model, rate_hz = load_robot(config.robot.model), get_task(config.task).spec.policy_rate_hz
    settings = CellSettings(
        homes=parameters.text("homing") == "safety",
        opens_first=parameters.text("open_gripper") == "first",
        needs_confirmation=parameters.text("object_ready") == "confirmed",
        speed_rad_s=parameters.number("homing_speed"),
        tolerance_rad=parameters.number("home_tolerance"),
    )
    states = RobotStateSubscriber(
        node, model, load_driver(parameters.text(DRIVER.name), model), SILENT_S, with_perception=True
    )
    core = CellStateMachine(model, settings, rate_hz)
    ports = CellInterface(node, core, states, arguments.robot, config.robot.observation_timeout_s)
    health = DiagnosticsPublisher(node, arguments.robot, ports.health)
    with (
        ros.spinning(node),
        RateLoop(rate_hz, ports.tick, "cell", phase_s(arguments, POLICY_PHASE)) as loop,
    ):
        while not ros.stop.wait(0.1) and loop.failure is None:
            pass
        loop.stop()
        loop.join()
    del health


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    return run("cell_node", serve, argv)


if __name__ == "__main__":
    sys.exit(main())
