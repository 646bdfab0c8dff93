"""PolicyPublisher: what a policy node says by itself: its policy, its episodes and their results."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from builtin_interfaces.msg import Time
from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.bundle.delivery import InstallStage
from floop_robot.robot.episode_state_machine import DRAINED_OR_HELD, EpisodeState
from floop_robot.robot.loop_interface import EpisodeReport, LoopView
from floop_robot.robot.messages import PerceivedObject
from floop_robot.ros.arm.convert import object_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED
from floop_robot.ros.node.stamps import header, to_time
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.spec.records import ObjectReport, Source

STORED_RESULTS: Final = 16
"""Results that services and actions may still ask for; they ask within a second."""
INACTIVE: Final = "the policy node is not active"


class PolicyPublisher:
    """Publishes on `policy_status`, `episode_state` and `episode_result`; in the executor's thread."""

    def __init__(self, node: Node) -> None:
        self._status = node.create_publisher(msg.PolicyStatus, topics.POLICY_STATUS, LATCHED)
        self._state = node.create_publisher(msg.EpisodeState, topics.EPISODE_STATE, LATCHED)
        self._result = node.create_publisher(msg.EpisodeResult, topics.EPISODE_RESULT, EVENTS)
        self._last_status = msg.PolicyStatus()
        self._last_state = msg.EpisodeState()
        self._results: deque[msg.EpisodeResult] = deque(maxlen=STORED_RESULTS)

    def result(self, episode: int) -> msg.EpisodeResult | None:
        """How an episode ended that was published lately."""
        return next((r for r in self._results if r.episode == episode), None)

    def publish(self, session: PolicySession, *, again: bool = False) -> None:
        """Say what is new; with `again` also the policy that was said before."""
        interface = session.interface
        while interface is not None and (report := interface.take_report()) is not None:
            self._publish_result(result_to_msg(session, report))
        self._publish_state(session)
        status = status_to_msg(session)
        if again or not _equal_but_times(status, self._last_status):
            self._last_status = status
            self._status.publish(status)

    def _publish_result(self, result: msg.EpisodeResult) -> None:
        self._results.append(result)
        self._result.publish(result)

    def _publish_state(self, session: PolicySession) -> None:
        state = state_to_msg(session)
        if not _equal_but_times(state, self._last_state):
            self._last_state = state
            self._state.publish(state)


def detail_of(session: PolicySession, view: LoopView) -> str:
    """What an episode waits for, in words; empty while one runs."""
    if not session.is_active:
        return INACTIVE
    pause = session.side.drain_state.pause_reason
    words = [pause or m if m == DRAINED_OR_HELD else m for m in view.missing]
    return "; ".join(words)


def state_to_msg(session: PolicySession) -> msg.EpisodeState:
    """For the topic `episode_state`, stamped now."""
    view = session.view
    waits = not session.is_active or view.state is EpisodeState.WAITING
    return msg.EpisodeState(
        header=header(),
        robot=session.robot,
        boot_id=session.boot_id,
        episode=view.episode,
        phase=EpisodeState.WAITING.value if waits else view.state.value,
        detail=detail_of(session, view),
    )


def status_to_msg(session: PolicySession) -> msg.PolicyStatus:
    """For the topic `policy_status`, stamped now."""
    side = session.side
    updater, current, previous = side.updater.status(), side.policy_buffer.current, side.policy_buffer.previous
    version = current.version if current else 0
    manifest, newest = updater.manifest(version), updater.newest
    first_s = side.policy_buffer.first_step_s(version)
    stage = newest.stage.value if newest else InstallStage.INSTALLED.value if version else ""
    if first_s is not None and (newest is None or newest.version == version):
        stage = InstallStage.ACTING.value  # its receipt may still be on its way
    return msg.PolicyStatus(
        header=header(),
        robot=session.robot,
        boot_id=session.boot_id,
        task=side.rules.spec.id,
        version=version,
        epoch=manifest.epoch if manifest else 0,
        sha256=manifest.sha256 if manifest else "",
        previous_version=previous.version if previous else 0,
        incoming_version=newest.version if newest else version,
        stage=stage,
        contract_id=side.ids.contract,
        limits_id=side.ids.limits,
        reward_id=side.ids.reward,
        acting_since=_wall_time(first_s),
        manager_linked=updater.is_linked,
        detail=newest.detail if newest else "",
    )


def result_to_msg(session: PolicySession, report: EpisodeReport) -> msg.EpisodeResult:
    """For the topic `episode_result`."""
    end, base_frame = report.end, session.side.model.base_link
    return msg.EpisodeResult(
        header=header(base_frame, end.stamp_ns),
        robot=session.robot,
        boot_id=session.boot_id,
        episode=end.episode,
        task=session.side.rules.spec.id,
        policy_version=end.policy_version,
        act_mode=end.act_mode.value,
        source=Source.ROBOT.value,
        outcome=end.outcome.value,
        steps=end.steps,
        duration_s=end.duration_s,
        total_reward=end.total_reward,
        interventions=report.interventions,
        work=object_to_msg(_perceived_object(end.work), base_frame),
        detail=report.why,
    )


def _perceived_object(work: ObjectReport) -> PerceivedObject:
    return PerceivedObject(
        object_class=work.object_class, size_m=work.size_m, position_m=work.position_m, yaw_rad=work.yaw_rad
    )


def _wall_time(mono_s: float | None) -> Time:
    return Time() if mono_s is None else to_time(time.time_ns() - round((time.monotonic() - mono_s) * 1e9))


def _equal_but_times(one: msg.PolicyStatus | msg.EpisodeState, other: msg.PolicyStatus | msg.EpisodeState) -> bool:
    """Equal but for times, which differ by how they are worked out."""
    times = ("header", "acting_since")
    names = [name for name in one.get_fields_and_field_types() if name not in times]
    return all(getattr(one, name) == getattr(other, name) for name in names)
