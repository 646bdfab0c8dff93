"""The services of a policy node: episodes by hand, labels, and rest.

They run as coroutines in the executor's thread; what they ask of the control loop happens in its next step.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from floop_interfaces import msg
from floop_interfaces.srv import DrainRobot, EndEpisode, LabelEpisode, StartEpisode
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import EndRequest, LoopInterface, StartRequest
from floop_robot.ros.node import topics
from floop_robot.ros.node.async_condition import AsyncCondition
from floop_robot.ros.node.qos import CALLS
from floop_robot.ros.node.service_calls import CallRefused, IdempotentCalls, audit_entry
from floop_robot.ros.policy.policy_publisher import INACTIVE, PolicyPublisher, detail_of
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.spec.bounds import MAX_INT
from floop_robot.spec.errors import FloopError
from floop_robot.spec.records import Event, Label, OutcomeCode

STEPS_S: Final = 1.0
"""How long a few control steps may take before a call is given up."""
READY_S: Final = 10.0
"""How long the driver may take to get ready when work goes on after a hold."""
LONGEST_WAIT_S: Final = 600.0
LONGEST_TEXT: Final = 2000
LABEL_TIMEOUT_S: Final = 2.0
"""How long the robot's disk may take to keep a label."""
_BOOT = re.compile("[0-9a-f]{16}")


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
        self._calls = IdempotentCalls(self._authorize)
        group = ReentrantCallbackGroup()  # one that waits must not keep the others waiting
        for name, kind, body in (
            (topics.START_EPISODE, StartEpisode, self._start),
            (topics.END_EPISODE, EndEpisode, self._end),
            (topics.LABEL_EPISODE, LabelEpisode, self._label),
            (topics.DRAIN, DrainRobot, self._drain),
        ):
            node.create_service(kind, name, self._served(name, body), qos_profile=CALLS, callback_group=group)

    def _served(self, name: str, body: Callable[[Any, Any], Awaitable[None]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def serve(request: Any, answer: Any) -> Any:
            return await self._calls.handle(name, body, request, answer)

        return serve

    def _authorize(self, who: str, token: str) -> str:
        session = self._policy_node.session
        if session is not None:
            return session.tokens.refusal(who, token)
        return "" if who.strip() else "say who asks: the field `who` is empty"

    def _configured(self) -> PolicySession:
        if (session := self._policy_node.session) is None:
            raise CallRefused("the policy node is not configured")
        return session

    def _active(self) -> tuple[PolicySession, LoopInterface]:
        session = self._configured()
        if not session.is_active or session.interface is None:
            raise CallRefused(INACTIVE)
        return session, session.interface

    async def _start(self, request: StartEpisode.Request, answer: StartEpisode.Response) -> None:
        session, interface = self._active()
        work, view = session.side.drain_state, session.view
        self._check_start(session, interface)
        number, was_held = view.episode, bool(work.hold)
        work.set_hold("")
        interface.request_start(StartRequest())
        await self._policy_node.condition.wait_for(
            lambda: _has_begun(session, number) or not session.is_active, READY_S if was_held else STEPS_S
        )
        if not _has_begun(session, number):
            interface.cancel_start()
            raise CallRefused(f"episode {number} did not start: {detail_of(session, session.view)}")
        answer.boot_id, answer.episode = session.boot_id, number
        answer.message = f"episode {number} runs"
        answer.record = audit_entry(request.who, f"start episode {number}", version=session.view.version)
        _note(session, "episode_called", f"{number} by {request.who}")

    def _check_start(self, session: PolicySession, interface: LoopInterface) -> None:
        view, work = session.view, session.side.drain_state
        if self._policy_node.has_goal:
            raise CallRefused("a task is being executed; cancel it first")
        if view.state is EpisodeState.RUNNING:
            raise CallRefused(f"episode {view.episode} is running")
        if interface.auto_start and not work.hold:
            raise CallRefused("episodes start by themselves here: the parameter episode_start is 'auto'")
        if view.estop:
            raise CallRefused("the e-stop is latched; reset it with set_estop")
        if work.drained:
            raise CallRefused(f"the robot is {work.pause_reason}")
        if not work.hold and view.state is not EpisodeState.WAITING:
            raise CallRefused(f"the driver is not ready: {detail_of(session, view)}")

    async def _end(self, request: EndEpisode.Request, answer: EndEpisode.Response) -> None:
        session, interface = self._active()
        view = session.view
        if view.state is not EpisodeState.RUNNING:
            raise CallRefused("no episode runs")
        try:
            outcome = OutcomeCode(request.outcome)
        except ValueError:
            raise CallRefused(f"outcome {request.outcome} is none of 0 (success), 1 (timeout), 2 (aborted)") from None
        why = f"{request.who}: {request.why}" if request.why else request.who
        interface.request_end(EndRequest(episode=view.episode, outcome=outcome, why=why))
        publisher = self._policy_node.publisher
        await self._policy_node.condition.wait_for(lambda: publisher.result(view.episode) is not None, STEPS_S)
        result = publisher.result(view.episode)
        if result is None:
            raise CallRefused(f"episode {view.episode} did not end within {STEPS_S:g} s; is the control loop held up?")
        answer.result = result
        if result.detail != why:
            raise CallRefused(f"episode {view.episode} had ended by itself: {OutcomeCode(result.outcome).name.lower()}")
        answer.message = f"episode {view.episode} ended as {outcome.name.lower()}"
        answer.record = audit_entry(
            request.who, f"end episode {view.episode}", version=result.policy_version, detail=request.why
        )

    async def _label(self, request: LabelEpisode.Request, answer: LabelEpisode.Response) -> None:
        session = self._configured()
        boot_id = request.boot_id or session.boot_id
        if not _BOOT.fullmatch(boot_id):
            raise CallRefused(f"boot_id {boot_id!r} is none: it has 16 digits from 0 to f, as in EpisodeResult")
        if not 0 < request.episode <= MAX_INT:
            raise CallRefused(f"say which episode: numbers go from 1 to {MAX_INT}")
        if boot_id == session.boot_id and request.episode >= session.next_episode:
            raise CallRefused(f"episode {request.episode} has not ended yet")
        if max(len(request.comment), len(request.who)) > LONGEST_TEXT:
            raise CallRefused(f"comment and who may have {LONGEST_TEXT} characters each")
        label = Label(
            seq=0,
            stamp_ns=time.time_ns(),
            episode_boot_id=boot_id,
            episode=request.episode,
            success=request.episode_success,
            author=request.who,
            comment=request.comment,
        )
        uploader = session.side.uploader
        if not uploader.put(label):
            raise CallRefused("the robot's spool is full; is ingest reachable?")
        if not await self._policy_node.condition.wait_for(lambda: uploader.is_durable, LABEL_TIMEOUT_S):
            raise CallRefused(
                f"the robot's disk did not keep the label yet: {uploader.stats().writer.error or 'it is slow'}"
            )
        word = "a success" if request.episode_success else "a failure"
        answer.message = f"episode {request.episode} of boot {boot_id} is labelled {word}"
        answer.record = audit_entry(request.who, f"label episode {request.episode} as {word}", detail=request.comment)

    async def _drain(self, request: DrainRobot.Request, answer: DrainRobot.Response) -> None:
        session = self._configured()
        work = session.side.drain_state
        if request.robot not in ("", session.robot):
            raise CallRefused(f"this is {session.robot}, not {request.robot}")
        if not math.isfinite(request.wait_s) or request.wait_s < 0.0:
            raise CallRefused("wait_s must be a number of seconds, 0 or more")
        if not request.drain and work.by_fleet_manager and not work.by_local_operator and not work.hold:
            raise CallRefused(f"{session.robot} is {work.pause_reason}; it alone can end that")
        try:
            work.set_local_drain(request.drain)
        except FloopError as error:
            raise CallRefused(str(error)) from None
        self._policy_node.condition.notify()
        if request.drain:
            await self._policy_node.condition.wait_for(lambda: work.idle, min(request.wait_s, LONGEST_WAIT_S))
        view = session.view
        answer.idle = work.idle
        does = f"is {work.pause_reason}" if work.pause_reason else "works again"
        answer.message = f"{session.robot} {does}" + ("" if work.idle else f"; episode {view.episode} still runs")
        what = "drain" if request.drain else "work again"
        answer.record = audit_entry(request.who, what, version=view.version, detail=request.why)
        answer.robots = [
            msg.RobotStatus(
                robot=session.robot, version=view.version, contract_fits=True, drained=work.drained, estop=work.estop
            )
        ]
        _note(session, "drained" if request.drain else "works_again", f"{request.who}: {request.why}")


def _has_begun(session: PolicySession, number: int) -> bool:
    view = session.view
    return view.episode > number or (view.episode == number and view.state is EpisodeState.RUNNING)


def _note(session: PolicySession, name: str, detail: str) -> None:
    """Keep with the robot's records what a person did."""
    session.side.uploader.put(Event(seq=0, stamp_ns=time.time_ns(), name=name, detail=detail[:LONGEST_TEXT]))
