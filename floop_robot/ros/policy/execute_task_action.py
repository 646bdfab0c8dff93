"""ExecuteTask: one episode as an action, with feedback; cancelling stops the arm and keeps the robot waiting.

The goal's coroutine runs in the executor's thread and looks at the control loop a few times a second; a cancel is
passed on the moment it arrives.
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
from floop_robot.ros.node.stamps import header
from floop_robot.ros.policy.policy_services import PolicyNodeInterface
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.services.policy import INACTIVE
from floop_robot.services.policy_commands import CallRefused, check_task, record_event
from floop_robot.spec.records import OutcomeCode

FEEDBACK_S: Final = 0.2
READY_S: Final = 10.0
"""How long the driver may take to get ready unless the goal says otherwise."""
STANDSTILL_TIMEOUT_S: Final = 2.0
"""How long the arm may take to come to a stand before a cancel is answered anyway."""
STANDSTILL_RAD_S: Final = 0.02
"""Joints slower than this stand, as far as encoders can tell."""


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
        """What was asked for."""
        return self.handle.request

    @property
    def is_cancelled(self) -> bool:
        """Somebody asked to cancel it."""
        return bool(self.handle.is_cancel_requested)


class ExecuteTaskServer:
    """Serves `execute_task`, one goal at a time."""

    def __init__(self, node: Node, policy_node: PolicyNodeInterface) -> None:
        self._node, self._policy_node = node, policy_node
        self._run: _ActiveGoal | None = None
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
        return self._run is not None

    def destroy(self) -> None:
        """Leave ROS; before the node is destroyed."""
        self._server.destroy()

    def _consider(self, goal: ExecuteTask.Goal) -> GoalResponse:
        refusal = self._refusal(goal)
        if not refusal:
            return GoalResponse.ACCEPT
        self._node.get_logger().warning(f"task of {goal.who or 'nobody'} rejected: {refusal}")
        return GoalResponse.REJECT

    def _refusal(self, goal: ExecuteTask.Goal) -> str:
        session = self._policy_node.session
        if session is None or not session.is_active:
            return INACTIVE
        if self._run is not None:
            return "another task is being executed"
        if refusal := session.tokens.refusal(goal.who, goal.token):
            return refusal
        try:
            check_task(session, goal.task, goal.object_class, goal.time_limit_s, goal.ready_timeout_s)
        except CallRefused as refused:
            return str(refused)
        return ""

    def _accept(self, handle: ServerGoalHandle) -> None:
        session = self._policy_node.session
        if session is None or session.interface is None:  # between the goal's acceptance and now nothing else ran
            handle.abort()
            return
        self._run = _ActiveGoal(handle, session, session.interface)
        handle.execute()

    def _cancel(self, handle: ServerGoalHandle) -> CancelResponse:
        run = self._run
        if run is None or run.handle != handle:
            return CancelResponse.REJECT
        run.note = f"cancelled by a client of {topics.EXECUTE_TASK}"
        # First of all, so that no reset of another episode moves the arm.
        run.session.drain_state.set_hold(f"on hold after a cancelled task; go on with {topics.START_EPISODE}")
        run.interface.cancel_start()
        if run.episode:
            run.interface.request_end(EndRequest(episode=run.episode, outcome=OutcomeCode.ABORTED, why=run.note))
        self._policy_node.condition.notify()
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> ExecuteTask.Result:
        run = self._run
        if run is None:
            return ExecuteTask.Result(message=INACTIVE)
        try:
            return await self._carry_out(run)
        finally:
            self._run = None
            self._policy_node.condition.notify()

    async def _carry_out(self, run: _ActiveGoal) -> ExecuteTask.Result:
        view = run.session.view
        run.not_before = view.episode + (view.state is EpisodeState.RUNNING)
        if not run.is_cancelled:  # a cancel may come before this begins, and its hold is to stay
            run.session.drain_state.set_hold("")
            run.interface.request_start(StartRequest(object_class=run.request.object_class))
        if not await self._begin(run):
            run.interface.cancel_start()
            if run.is_cancelled:
                await self._wait_for_standstill(run)
            return self._conclude(run, None)
        limit_s = run.request.time_limit_s or math.inf
        record_event(run.session, "task", f"{run.episode} for {run.request.who[:200]}")
        while (result := self._policy_node.publisher.result(run.episode)) is None and run.session.is_active:
            view = run.session.view
            if run.is_cancelled:  # it may have begun in the very step in which it was cancelled
                run.interface.request_end(EndRequest(episode=run.episode, outcome=OutcomeCode.ABORTED, why=run.note))
            elif view.elapsed_s >= limit_s and view.episode == run.episode:
                run.note = f"time limit of {limit_s:g} s"
                run.interface.request_end(EndRequest(episode=run.episode, outcome=OutcomeCode.TIMEOUT, why=run.note))
            await self._feedback_and_wait(run, lambda: self._policy_node.publisher.result(run.episode) is not None)
        if run.is_cancelled:
            await self._wait_for_standstill(run)
        return self._conclude(run, result or self._policy_node.publisher.result(run.episode))

    async def _begin(self, run: _ActiveGoal) -> bool:
        """Wait until an episode of this goal runs; False: cancelled, too late, or the node is not active any more."""
        ready_s = run.request.ready_timeout_s or READY_S
        deadline_s = math.inf
        while run.session.is_active and not run.is_cancelled:
            view = run.session.view
            if view.episode >= run.not_before:
                deadline_s = min(deadline_s, time.monotonic() + ready_s)  # from when the one before had ended
            if self._is_its_own(run):
                run.episode = view.episode
                return True
            if time.monotonic() >= deadline_s:
                waits = run.session.waiting_reason(view) or f"{view.work.object_class if view.work else 'nothing'} came"
                run.note = f"not ready within {ready_s:g} s: {waits}"
                return False
            await self._feedback_and_wait(run, lambda: self._is_its_own(run))
        return False

    @staticmethod
    def _is_its_own(run: _ActiveGoal) -> bool:
        view, wanted = run.session.view, run.request.object_class
        runs = view.state is EpisodeState.RUNNING and view.episode >= run.not_before
        return runs and view.work is not None and wanted in ("", view.work.object_class)

    async def _feedback_and_wait(self, run: _ActiveGoal, is_over: Any) -> None:
        """Feedback, then a short wait."""
        run.handle.publish_feedback(self._feedback(run))
        was_cancelled = run.is_cancelled
        await self._policy_node.condition.wait_for(
            lambda: is_over() or run.is_cancelled != was_cancelled or not run.session.is_active, FEEDBACK_S
        )

    async def _wait_for_standstill(self, run: _ActiveGoal) -> None:
        """Wait until the arm stands."""
        await self._policy_node.condition.wait_for(
            lambda: run.session.view.speed_rad_s <= STANDSTILL_RAD_S or not run.session.is_active, STANDSTILL_TIMEOUT_S
        )

    def _conclude(self, run: _ActiveGoal, result: msg.EpisodeResult | None) -> ExecuteTask.Result:
        success = result is not None and result.outcome == msg.EpisodeResult.OUTCOME_SUCCESS
        if success:
            run.handle.succeed()
        elif run.is_cancelled:
            run.handle.canceled()
        else:
            run.handle.abort()
        if result is None:
            why = run.note or (INACTIVE if not run.session.is_active else "no episode began")
            return ExecuteTask.Result(message=why)
        words = OutcomeCode(result.outcome).name.lower() + (f": {result.detail}" if result.detail else "")
        return ExecuteTask.Result(success=success, message=f"episode {result.episode}: {words}", result=result)

    def _feedback(self, run: _ActiveGoal) -> ExecuteTask.Feedback:
        view, session = run.session.view, run.session
        mine = bool(run.episode) and view.episode == run.episode and view.state is EpisodeState.RUNNING
        tcp = session.kinematics.position(view.q_rad) if view.q_rad else (0.0, 0.0, 0.0)
        return ExecuteTask.Feedback(
            stamp=header().stamp,
            episode=run.episode,
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
