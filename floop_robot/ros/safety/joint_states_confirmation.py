"""JointStatesConfirmation: a person says that an arm whose joints are all at zero really stands there.

The call is made at the safety node. It tells all who read joint states, itself among them, on a topic.
"""

from __future__ import annotations

import logging
from typing import Final

from rclpy.node import Node
from std_msgs.msg import Empty
from std_srvs.srv import Trigger

from floop_robot.ros.arm.robot_state_subscriber import RobotStateSubscriber
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from floop_robot.ros.node.service_calls import create_services

NOTHING: Final = "nothing to confirm: only an arm whose joints are all at exactly 0 rad waits for this"

log = logging.getLogger(__name__)


class JointStatesConfirmation:
    """The service `confirm_joint_states`."""

    def __init__(self, node: Node, states: RobotStateSubscriber) -> None:
        self._states = states
        self._confirmed = node.create_publisher(Empty, topics.JOINT_STATES_CONFIRMED, LATCHED)
        create_services(node, ((Trigger, topics.CONFIRM_JOINT_STATES, self._confirm),))

    def _confirm(self, _: Trigger.Request, answer: Trigger.Response) -> Trigger.Response:
        answer.success = self._states.waits_for_confirmation
        answer.message = "all joints are at 0 rad, as confirmed" if answer.success else NOTHING
        if answer.success:
            log.warning("somebody confirmed that all joints are at 0 rad")
            self._confirmed.publish(Empty())
        return answer
