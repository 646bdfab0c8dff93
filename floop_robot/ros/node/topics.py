"""Names of topics and services; docs/ros_interfaces.md lists their users. Relative names are in a robot's namespace."""

from __future__ import annotations

from typing import Final

JOINT_STATES: Final = "joint_states"
GRIPPER_STATE: Final = "gripper_state"
PERCEIVED_OBJECT: Final = "perceived_object"
OBJECT_POSE: Final = "object_pose"
TOTE_POSE: Final = "tote_pose"
DRIVER_EPISODE: Final = "driver/episode_state"
DRIVER_TRUTH: Final = "driver/truth"
RESET_EPISODE: Final = "driver/reset_episode"
CELL_READY: Final = "cell/ready"

JOINT_TARGET: Final = "joint_target"
GRIPPER_COMMAND: Final = "gripper_command"
SAFETY_STATUS: Final = "safety_status"
ESTOP: Final = "estop"
ESTOP_STATE: Final = "estop_state"
SET_ESTOP: Final = "set_estop"

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
FLEET_SET_ESTOP: Final = "/fleet/set_estop"
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
