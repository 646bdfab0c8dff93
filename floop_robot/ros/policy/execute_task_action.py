"""ExecuteTaskServer: one episode as an action, with feedback; a cancel stops the arm and puts the robot on hold.

The goal's coroutine runs in the executor's thread and looks at the control loop a few times a second. A cancel is
passed on at once.
"""

from __future__ import annotations

import math
import time
from typing import Any, Final

import msgspec
from geometry_msgs.msg import Point
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces import msg
from floop_interfaces.action import ExecuteTask
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import EndRequest, LoopInterface, StartRequest
from floop_robot.ros.node import topics
from floop_robot.ros.node.stamps import now_ns, to_time
from floop_robot.ros.policy.policy_services import PolicyNodeInterface
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.services.policy import INACTIVE
from floop_robot.services.policy_commands import check_task, record_event, start_after_reset
from floop_robot.spec.errors import CallRefused, FloopError
from floop_robot.spec.records import OutcomeCode

FEEDBACK_S: Final = 0.2
READY_S: Final = 10.0
"""How long the driver may take to get ready, unless the goal has a time of its own."""
STANDSTILL_TIMEOUT_S: Final = 2.0
"""How long a cancel waits for the arm to stand still before it is answered."""
STANDSTILL_RAD_S: Final = 0.02
"""Slower joints count as standing still: encoders are no better."""


class _ActiveGoal(msgspec.Struct):
    """The goal in progress."""

    handle: Any
    session: PolicySession
    interface: LoopInterface
    episode: int = 0
    """Its episode; 0 before that began."""
    not_before: int = 0
    """The first episode that can be its own."""
    note: str = ""
    """Why it was ended from outside."""

    @property
    def request(self) -> ExecuteTask.Goal:
        """The goal as sent by its client."""
        return self.handle.request

    @property
    def is_cancelled(self) -> bool:
        """Its client asked to cancel it."""
        return bool(self.handle.is_cancel_requested)

    def request_end(self, outcome: OutcomeCode) -> None:
        """Have the control loop end its episode, for the reason in `note`."""
        self.interface.request_end(EndRequest(episode=self.episode, outcome=outcome, why=self.note))


class ExecuteTaskServer:
    """Serves `execute_task`, one goal at a time."""

    def __init__(self, node: Node, policy_node: PolicyNodeInterface) -> None:
        self._node, self._policy_node = node, policy_node
        self._goal: _ActiveGoal | None = None
        self._server = ActionServer(
            node,
            ExecuteTask,
            topics.EXECUTE_TASK,
            self._execute,
            goal_callback=self._consider,
            handle_accepted_callback=self._accept,
            cancel_callback=self._cancel,
            callback_group=ReentrantCallbackGroup(),
        )

    @property
    def is_busy(self) -> bool:
        """A goal is in progress."""
        return self._goal is not None

    def destroy(self) -> None:
        """Leave ROS; before the node is destroyed."""
        self._server.destroy()

    def _consider(self, goal: ExecuteTask.Goal) -> GoalResponse:
        try:
            self._check(goal)
        except CallRefused as refused:
            self._node.get_logger().warning(f"task of {goal.who or 'nobody'} rejected: {refused}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _check(self, goal: ExecuteTask.Goal) -> None:
        session = self._policy_node.session
        if session is None or not session.is_active:
            raise CallRefused(INACTIVE)
        if self._goal is not None:
            raise CallRefused("another task is being executed")
        if refusal := session.tokens.refusal(goal.who, goal.token):
            raise CallRefused(refusal)
        check_task(session, goal.task, goal.object_class, goal.time_limit_s, goal.ready_timeout_s)

    def _accept(self, handle: ServerGoalHandle) -> None:
        session = self._policy_node.session
        if session is None or session.interface is None:  # between the goal's acceptance and now nothing else ran
            handle.abort()
            return
        self._goal = _ActiveGoal(handle, session, session.interface)
        handle.execute()

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        goal = self._goal
        if goal is None or goal.handle != handle:
            return CancelResponse.REJECT
        goal.note = f"cancelled by a client of {topics.EXECUTE_TASK}"
        # First of all, so that no reset of another episode moves the arm.
        goal.session.drain_state.set_hold(f"on hold after a cancelled task; go on with {topics.START_EPISODE}")
        goal.interface.cancel_start()
        if goal.episode:
            goal.request_end(OutcomeCode.ABORTED)
        self._policy_node.condition.notify()
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> ExecuteTask.Result:
        goal = self._goal
        if goal is None:
            return ExecuteTask.Result(message=INACTIVE)
        try:
            return await self._carry_out(goal)
        finally:
            self._goal = None
            self._policy_node.condition.notify()

    async def _carry_out(self, goal: _ActiveGoal) -> ExecuteTask.Result:
        view = goal.session.view
        goal.not_before = view.episode + (view.state is EpisodeState.RUNNING)
        if view.start_required:
            try:
                await self._policy_node.condition.run_in_thread(
                    lambda: start_after_reset(goal.session, goal.request.who)
                )
            except FloopError as refused:
                goal.note = f"the arm was not started after its reset: {refused}"
                return self._conclude(goal, None)
        if not goal.is_cancelled:  # a cancel may come before this begins, and its hold is to stay
            goal.session.drain_state.set_hold("")
            goal.interface.request_start(StartRequest(object_class=goal.request.object_class))
        if not await self._begin(goal):
            goal.interface.cancel_start()
            if goal.is_cancelled:
                await self._wait_for_standstill(goal)
            return self._conclude(goal, None)
        limit_s = goal.request.time_limit_s or math.inf
        record_event(goal.session, "task", f"{goal.episode} for {goal.request.who[:200]}")
        while (result := self._policy_node.publisher.result(goal.episode)) is None and goal.session.is_active:
            view = goal.session.view
            if goal.is_cancelled:  # it may have begun in the very step in which it was cancelled
                goal.request_end(OutcomeCode.ABORTED)
            elif view.elapsed_s >= limit_s and view.episode == goal.episode:
                goal.note = f"time limit of {limit_s:g} s"
                goal.request_end(OutcomeCode.TIMEOUT)
            await self._feedback_and_wait(goal, lambda: self._policy_node.publisher.result(goal.episode) is not None)
        if goal.is_cancelled:
            await self._wait_for_standstill(goal)
        return self._conclude(goal, result or self._policy_node.publisher.result(goal.episode))

    async def _begin(self, goal: _ActiveGoal) -> bool:
        """Wait until an episode of this goal runs; False: cancelled, too late, or the node is not active any more."""
        ready_s = goal.request.ready_timeout_s or READY_S
        deadline_s = math.inf
        while goal.session.is_active and not goal.is_cancelled:
            view = goal.session.view
            if view.episode >= goal.not_before:
                deadline_s = min(deadline_s, time.monotonic() + ready_s)  # from when the one before had ended
            if self._is_its_own(goal):
                goal.episode = view.episode
                return True
            if time.monotonic() >= deadline_s:
                perceived = view.object.object_class if view.object else "nothing"
                waits = goal.session.waiting_reason(view) or f"{perceived} came"
                goal.note = f"not ready within {ready_s:g} s: {waits}"
                return False
            await self._feedback_and_wait(goal, lambda: self._is_its_own(goal))
        return False

    @staticmethod
    def _is_its_own(goal: _ActiveGoal) -> bool:
        view, wanted = goal.session.view, goal.request.object_class
        runs = view.state is EpisodeState.RUNNING and view.episode >= goal.not_before
        return runs and view.object is not None and wanted in ("", view.object.object_class)

    async def _feedback_and_wait(self, goal: _ActiveGoal, is_over: Any) -> None:
        """Feedback, then a short wait."""
        goal.handle.publish_feedback(self._feedback(goal))
        was_cancelled = goal.is_cancelled
        await self._policy_node.condition.wait_for(
            lambda: is_over() or goal.is_cancelled != was_cancelled or not goal.session.is_active, FEEDBACK_S
        )

    async def _wait_for_standstill(self, goal: _ActiveGoal) -> None:
        """Wait until the arm stands."""
        await self._policy_node.condition.wait_for(
            lambda: goal.session.view.speed_rad_s <= STANDSTILL_RAD_S or not goal.session.is_active,
            STANDSTILL_TIMEOUT_S,
        )

    def _conclude(self, goal: _ActiveGoal, result: msg.EpisodeResult | None) -> ExecuteTask.Result:
        success = result is not None and result.outcome == msg.EpisodeResult.OUTCOME_SUCCESS
        if success:
            goal.handle.succeed()
        elif goal.is_cancelled:
            goal.handle.canceled()
        else:
            goal.handle.abort()
        if result is None:
            why = goal.note or (INACTIVE if not goal.session.is_active else "no episode began")
            return ExecuteTask.Result(message=why)
        words = OutcomeCode(result.outcome).name.lower() + (f": {result.detail}" if result.detail else "")
        return ExecuteTask.Result(success=success, message=f"episode {result.episode}: {words}", result=result)

    def _feedback(self, goal: _ActiveGoal) -> ExecuteTask.Feedback:
        view, session = goal.session.view, goal.session
        mine = bool(goal.episode) and view.episode == goal.episode and view.state is EpisodeState.RUNNING
        tcp = session.kinematics.position(view.q_rad) if view.q_rad else (0.0, 0.0, 0.0)
        return ExecuteTask.Feedback(
            stamp=to_time(now_ns()),
            episode=goal.episode,
            phase=view.state.value,
            step=view.steps if mine else 0,
            max_steps=session.rules.spec.max_steps,
            elapsed_s=view.elapsed_s if mine else 0.0,
            total_reward=view.total_reward if mine else 0.0,
            tcp_m=Point(x=float(tcp[0]), y=float(tcp[1]), z=float(tcp[2])),
            gripper_width_m=view.gripper_width_m,
            policy_version=view.version,
            interventions=view.interventions if mine else 0,
        )
