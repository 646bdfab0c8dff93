"""A process of its own that answers as a fleet manager and a robot would; stops on SIGINT.

It works out its answers from the requests, so that a field lost on the way shows.
"""

from __future__ import annotations

import contextlib
import time

import rclpy
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from floop_interfaces.action import ExecuteTask
from floop_interfaces.msg import AuditEntry, EpisodeResult, EpisodeState, PolicyStatus, RobotStatus
from floop_interfaces.srv import PushPolicy

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
STEP_S = 0.02


class StandIn(Node):
    """Serves one service and one action, and says once what it acts on."""

    def __init__(self) -> None:
        super().__init__("stand_in")
        group = ReentrantCallbackGroup()
        self.create_service(PushPolicy, "push_policy", self._push, callback_group=group)
        self._action = ActionServer(
            self,
            ExecuteTask,
            "execute_task",
            self._execute,
            goal_callback=self._consider,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            callback_group=group,
        )
        self._status = self.create_publisher(PolicyStatus, "policy_status", LATCHED)
        status = PolicyStatus(robot="robot_1", version=7, stage=PolicyStatus.STAGE_ACTING, manager_linked=True)
        status.header.stamp = self.get_clock().now().to_msg()
        self._status.publish(status)

    def _push(self, request: PushPolicy.Request, answer: PushPolicy.Response) -> PushPolicy.Response:
        stamp = self.get_clock().now().to_msg()
        if not request.who:
            answer.message = "who is empty: say who you are"
            return answer
        answer.success = True
        answer.version = request.version + 1
        answer.message = f"v{answer.version} on {request.scope}"
        answer.record = AuditEntry(stamp=stamp, who=request.who, what="push", detail=request.why)
        answer.record.version = answer.version
        answer.robots = [RobotStatus(robot=f"robot_{i}", version=answer.version, silent_s=i / 4) for i in range(1, 5)]
        return answer

    def _consider(self, goal: ExecuteTask.Goal) -> GoalResponse:
        return GoalResponse.ACCEPT if goal.task == "floop/Pick-v0" else GoalResponse.REJECT

    def _execute(self, handle: ServerGoalHandle) -> ExecuteTask.Result:
        limit, step = handle.request.time_limit_s, 0
        result = ExecuteTask.Result(result=EpisodeResult(robot="robot_1", episode=3, policy_version=7))
        while step * STEP_S < limit:
            if handle.is_cancel_requested:
                handle.canceled()
                result.result.outcome = EpisodeResult.OUTCOME_ABORTED
                result.result.steps = step
                return result
            step += 1
            handle.publish_feedback(
                ExecuteTask.Feedback(episode=3, phase=EpisodeState.PHASE_RUNNING, step=step, elapsed_s=step * STEP_S)
            )
            time.sleep(STEP_S)  # as long as a policy step
        handle.succeed()
        result.success = True
        result.result.steps = step
        return result


def main() -> None:
    """Spin until SIGINT."""
    rclpy.init()
    node = StandIn()
    executor = MultiThreadedExecutor(num_threads=3)
    executor.add_node(node)
    print("ready", flush=True)
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        executor.spin()
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
