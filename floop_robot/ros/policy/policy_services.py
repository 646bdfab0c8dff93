"""PolicyServices: a policy node's services: episodes by hand, labels, and drain.

They run as coroutines in the executor's thread. What they ask of the control loop happens in its next step.
"""

from __future__ import annotations

from typing import Final, Protocol

from rclpy.node import Node

from floop_interfaces import msg
from floop_interfaces.srv import DrainRobot, EndEpisode, LabelEpisode, StartEpisode
from floop_robot.robot.loop_interface import StartRequest
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.service_calls import IdempotentServices, audit_entry
from floop_robot.ros.policy.policy_publisher import PolicyPublisher
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.services.policy_commands import (
    active_interface,
    check_start,
    has_begun,
    record_event,
    request_end,
    set_drain,
    start_after_reset,
    write_label,
)
from floop_robot.spec.errors import CallRefused
from floop_robot.spec.records import OutcomeCode

STEPS_S: Final = 1.0
"""How long a few control steps may take before a call is given up."""
READY_S: Final = 10.0
"""How long the driver may take to get ready when a hold ends."""
LONGEST_WAIT_S: Final = 600.0
LABEL_TIMEOUT_S: Final = 2.0
"""How long the robot's disk may take to store a label."""


class PolicyNodeInterface(Protocol):
    """What services and action need of the policy node."""

    condition: AsyncCondition
    publisher: PolicyPublisher

    @property
    def session(self) -> PolicySession | None:
        """What it has while configured."""
        ...

    @property
    def has_goal(self) -> bool:
        """A task is being executed by the action."""
        ...


class PolicyServices:
    """Serves `start_episode`, `end_episode`, `label_episode` and `drain`."""

    def __init__(self, node: Node, policy_node: PolicyNodeInterface) -> None:
        self._policy_node = policy_node
        table = (
            (StartEpisode, topics.START_EPISODE, self._start),
            (EndEpisode, topics.END_EPISODE, self._end),
            (LabelEpisode, topics.LABEL_EPISODE, self._label),
            (DrainRobot, topics.DRAIN, self._drain),
        )
        self._services = IdempotentServices(node, table, self._authorize)

    def _authorize(self, who: str, token: str) -> str:
        session = self._policy_node.session
        if session is not None:
            return session.tokens.refusal(who, token)
        return "" if who.strip() else "say who asks: the field `who` is empty"

    def _configured(self) -> PolicySession:
        if (session := self._policy_node.session) is None:
            raise CallRefused("the policy node is not configured")
        return session

    async def _start(self, request: StartEpisode.Request, answer: StartEpisode.Response) -> None:
        session = self._configured()
        interface = active_interface(session)
        if self._policy_node.has_goal:
            raise CallRefused("a task is being executed; cancel it first")
        check_start(session, interface)
        needs_start, answer.boot_id = session.view.start_required, session.boot_id
        number, timeout_s = session.view.episode, READY_S if needs_start or session.drain_state.hold else STEPS_S
        if needs_start:
            await self._policy_node.condition.run_in_thread(lambda: start_after_reset(session, request.who))
            record_event(session, "arm_started", f"after its reset, by {request.who}")
        session.drain_state.set_hold("")
        if needs_start and interface.auto_start:
            answer.message = "the arm is started after its reset; episodes go on by themselves"
            answer.record = audit_entry(request.who, "start after the reset", version=session.view.version)
            return
        interface.request_start(StartRequest())
        await self._policy_node.condition.wait_for(
            lambda: has_begun(session, number) or not session.is_active, timeout_s
        )
        if not has_begun(session, number):
            interface.cancel_start()
            started = "the arm is started after its reset, but " if needs_start else ""
            raise CallRefused(f"{started}episode {number} did not start: {session.waiting_reason(session.view)}")
        answer.episode = number
        answer.message = f"episode {number} runs"
        answer.record = audit_entry(request.who, f"start episode {number}", version=session.view.version)
        record_event(session, "episode_called", f"{number} by {request.who}")

    async def _end(self, request: EndEpisode.Request, answer: EndEpisode.Response) -> None:
        wanted = request_end(self._configured(), request.outcome, request.who, request.why)
        number, publisher = wanted.episode, self._policy_node.publisher
        await self._policy_node.condition.wait_for(lambda: publisher.result(number) is not None, STEPS_S)
        result = publisher.result(number)
        if result is None:
            raise CallRefused(f"episode {number} did not end within {STEPS_S:g} s; is the control loop held up?")
        answer.result = result
        if result.detail != wanted.why:
            raise CallRefused(f"episode {number} had ended by itself: {OutcomeCode(result.outcome).name.lower()}")
        answer.message = f"episode {number} ended as {wanted.outcome.name.lower()}"
        answer.record = audit_entry(
            request.who, f"end episode {number}", version=result.policy_version, detail=request.why
        )

    async def _label(self, request: LabelEpisode.Request, answer: LabelEpisode.Response) -> None:
        session = self._configured()
        boot_id, uploader = request.boot_id or session.boot_id, session.uploader
        write_label(session, boot_id, request.episode, request.episode_success, request.who, request.comment)
        if not await self._policy_node.condition.wait_for(lambda: uploader.is_durable, LABEL_TIMEOUT_S):
            error = uploader.stats().writer.error or "it is slow"
            raise CallRefused(f"the robot's disk did not store the label yet: {error}")
        word = "a success" if request.episode_success else "a failure"
        answer.message = f"episode {request.episode} of boot {boot_id} is labelled {word}"
        answer.record = audit_entry(request.who, f"label episode {request.episode} as {word}", detail=request.comment)

    async def _drain(self, request: DrainRobot.Request, answer: DrainRobot.Response) -> None:
        session = self._configured()
        state = session.drain_state
        set_drain(session, request.robot, request.drain, request.wait_s)
        self._policy_node.condition.notify()
        if request.drain:
            await self._policy_node.condition.wait_for(lambda: state.idle, min(request.wait_s, LONGEST_WAIT_S))
        view = session.view
        answer.idle = state.idle
        does = f"is {state.pause_reason}" if state.pause_reason else "works again"
        answer.message = f"{session.robot} {does}" + ("" if state.idle else f"; episode {view.episode} still runs")
        what = "drain" if request.drain else "work again"
        answer.record = audit_entry(request.who, what, version=view.version, detail=request.why)
        answer.robots = [
            msg.RobotStatus(
                robot=session.robot, version=view.version, contract_fits=True, drained=state.drained, estop=state.estop
            )
        ]
        record_event(session, "drained" if request.drain else "works_again", f"{request.who}: {request.why}")
