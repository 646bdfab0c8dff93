"""EstopServices: how ROS stops and resets one robot, by services and by the levels of `std_msgs/Bool` topics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from floop_interfaces import msg, srv
from floop_robot.robot.estop_interface import MAX_WAITING, EstopInterface
from floop_robot.robot.estop_socket import ANSWER_TIMEOUT_S
from floop_robot.robot.messages import EstopAnswer, EstopCommand, ResetCommand, StopCommand
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.convert import from_message, to_message
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from floop_robot.ros.node.service_calls import create_services
from floop_robot.spec.driver_config import DriverConfig
from floop_robot.spec.estop import join_texts

NO_ANSWER: Final = f"not answered within {ANSWER_TIMEOUT_S:g} s: the process ends, or a disk hangs"


class EstopServices:
    """Serves `stop`, `reset_estop` and `estop_trigger`, and hears `estop`, `/fleet/estop` and the hardware's topic.

    No call waits for another. What is decided is the servo thread's business.
    """

    def __init__(self, node: Node, robot: str, estop: EstopInterface, driver: DriverConfig) -> None:
        self._robot, self._estop, self._log = robot, estop, node.get_logger()
        self._condition = AsyncCondition(node)
        group = ReentrantCallbackGroup()
        table: tuple[tuple[Any, str, Callable[[Any], EstopCommand]], ...] = (
            (srv.StopRobot, topics.STOP, partial(from_message, StopCommand)),
            (srv.ResetEstop, topics.RESET_ESTOP, partial(from_message, ResetCommand)),
            (Trigger, topics.ESTOP_TRIGGER, lambda _: StopCommand(who=topics.ESTOP_TRIGGER)),
        )
        create_services(node, [(kind, name, partial(self._serve, read)) for kind, name, read in table], group)
        # However reliable a publisher is. Of the hardware also what it said before this start; listening for that at
        # the others would make ROS warn everybody who publishes there.
        levels = [(topics.ESTOP, False, qos) for qos in (EVENTS, SENSOR)]
        levels += [(topics.in_site(node, topics.FLEET_ESTOP), False, qos) for qos in (EVENTS, SENSOR)]
        if driver.hardware_stop_topic:
            inverted = driver.hardware_stop_inverted
            levels += [(driver.hardware_stop_topic, inverted, qos) for qos in (EVENTS, SENSOR, LATCHED)]
        for topic, inverted, qos in levels:
            node.create_subscription(
                Bool, topic, lambda m, t=topic, i=inverted: estop.inputs.set(t, m.data != i), qos, callback_group=group
            )

    def close(self) -> None:
        """Answer those who wait; while the executor still goes on."""
        self._condition.close()

    async def _serve(self, read: Callable[[Any], EstopCommand], request: Any, response: Any) -> Any:
        """Carry a command out in a thread of its own: what a hung disk holds up keeps nothing else waiting."""
        command = read(request)
        answers = [EstopAnswer(success=False, message=NO_ANSWER, state=self._estop.state())]
        if isinstance(command, StopCommand) or self._condition.running_threads < MAX_WAITING:
            await self._condition.run_in_thread(lambda: answers.append(self._estop.call(command)), ANSWER_TIMEOUT_S)
        response.success, response.message = answers[-1].success, f"{self._robot}: {answers[-1].message}"
        if not isinstance(response, Trigger.Response):
            response.state = to_message(msg.EstopState, answers[-1].state, robot=self._robot)
        if isinstance(command, ResetCommand) and not response.success:
            who, message = (join_texts("", text) for text in (command.who or "nobody", response.message))
            self._log.warning(f"reset by {who} refused: {message}")
        return response
