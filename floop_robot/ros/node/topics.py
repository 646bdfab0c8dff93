"""Names of topics and services; docs/ros_interfaces.md lists their users.

Relative names are in a robot's namespace. Names with a slash are in the site's, which `in_site` puts before them: a
namespace around robots, `fleet` and `learner`, so that several fleets can share a domain.
"""

from __future__ import annotations

from typing import Final

from rclpy.node import Node

JOINT_STATES: Final = "joint_states"
JOINT_STATES_CONFIRMED: Final = "joint_states_confirmed"
CONFIRM_JOINT_STATES: Final = "confirm_joint_states"
GRIPPER_STATE: Final = "gripper_state"
PERCEIVED_OBJECT: Final = "perceived_object"
OBJECT_POSE: Final = "object_pose"
TOTE_POSE: Final = "tote_pose"
DRIVER_EPISODE: Final = "driver/episode_state"
DRIVER_TRUTH: Final = "driver/truth"
ROBOT_DESCRIPTION: Final = "robot_description"
RESET_EPISODE: Final = "driver/reset_episode"
CELL_READY: Final = "cell/ready"

JOINT_TARGET: Final = "joint_target"
GRIPPER_COMMAND: Final = "gripper_command"
SAFETY_STATUS: Final = "safety_status"
ROBOT_HOST: Final = "robot_host"
ESTOP: Final = "estop"
ESTOP_STATE: Final = "estop_state"
STOP: Final = "stop"
ESTOP_TRIGGER: Final = "estop_trigger"
RESET_ESTOP: Final = "reset_estop"

MARKERS: Final = "markers"
POLICY_STATUS: Final = "policy_status"
EPISODE_STATE: Final = "episode_state"
EPISODE_RESULT: Final = "episode_result"
DRAIN: Final = "drain"
LABEL_EPISODE: Final = "label_episode"
START_EPISODE: Final = "start_episode"
END_EPISODE: Final = "end_episode"
EXECUTE_TASK: Final = "execute_task"

FLEET_STATE: Final = "/fleet/state"
FLEET_VERDICT: Final = "/fleet/verdict"
FLEET_AUDIT: Final = "/fleet/audit"
FLEET_ESTOP: Final = "/fleet/estop"
FLEET_STOP: Final = "/fleet/stop"
FLEET_RESET_ESTOP: Final = "/fleet/reset_estop"
FLEET_ESTOP_TRIGGER: Final = "/fleet/estop_trigger"
PUSH_POLICY: Final = "/fleet/push_policy"
ROLLBACK_POLICY: Final = "/fleet/rollback_policy"
PIN_POLICY: Final = "/fleet/pin_policy"
HOLD_UPDATES: Final = "/fleet/hold_updates"
DRAIN_ROBOT: Final = "/fleet/drain_robot"
LIST_POLICIES: Final = "/fleet/list_policies"
FLEET_STATUS: Final = "/fleet/fleet_status"

LEARNER_STATUS: Final = "/learner/status"
PAUSE_LEARNER: Final = "/learner/pause"
CHECKPOINT_LEARNER: Final = "/learner/checkpoint"

DIAGNOSTICS: Final = "/diagnostics"
CLOCK: Final = "/clock"
TF: Final = "/tf"
TF_STATIC: Final = "/tf_static"
"""These four are in no site: ROS knows one of each."""


def in_site(node: Node, name: str) -> str:
    """The full name of what belongs to the node's site, as `/fleet/state` or `/robot_2/estop`.

    A relative name stays what it is. The site is what the node's namespace has before its last part, which is the name
    of a robot, `fleet` or `learner`.
    """
    site = node.get_namespace().rpartition("/")[0]
    return site + name if name.startswith("/") else name
