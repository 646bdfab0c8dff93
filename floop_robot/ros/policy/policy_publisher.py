"""PolicyPublisher: publishes a policy node's policy, its episodes and their results."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from builtin_interfaces.msg import Time
from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.bundle.delivery import InstallStage
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.loop_interface import EpisodeReport
from floop_robot.ros.arm.convert import object_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.io import ChangePublisher
from floop_robot.ros.node.qos import EVENTS
from floop_robot.ros.node.stamps import header, now_ns, to_time
from floop_robot.ros.policy.policy_session import PolicySession
from floop_robot.spec.records import Source

STORED_RESULTS: Final = 16
"""Results kept for services and actions, which ask within a second."""


class PolicyPublisher:
    """Publishes on `policy_status`, `episode_state` and `episode_result`; in the executor's thread."""

    def __init__(self, node: Node) -> None:
        self._status = ChangePublisher(node, msg.PolicyStatus, topics.POLICY_STATUS)
        self._state = ChangePublisher(node, msg.EpisodeState, topics.EPISODE_STATE)
        self._result = node.create_publisher(msg.EpisodeResult, topics.EPISODE_RESULT, EVENTS)
        self._results: deque[msg.EpisodeResult] = deque(maxlen=STORED_RESULTS)

    def result(self, episode: int) -> msg.EpisodeResult | None:
        """How an episode ended that was published lately."""
        return next((r for r in self._results if r.episode == episode), None)

    def publish(self, session: PolicySession, *, again: bool = False) -> None:
        """Publish what is new; with `again` also the policy that was published before."""
        interface = session.interface
        while interface is not None and (report := interface.take_report()) is not None:
            self._results.append(result_to_msg(session, report))
            self._result.publish(self._results[-1])
        self._state.publish(state_to_msg(session))
        self._status.publish(status_to_msg(session), again=again)


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
        detail=session.waiting_reason(view),
    )


def status_to_msg(session: PolicySession) -> msg.PolicyStatus:
    """For the topic `policy_status`, stamped now."""
    updater, current, previous = session.updater.status(), session.policy_buffer.current, session.policy_buffer.previous
    version = current.version if current else 0
    manifest, newest = updater.manifest(version), updater.newest
    first_s = session.policy_buffer.first_step_s(version)
    stage = newest.stage.value if newest else InstallStage.INSTALLED.value if version else ""
    if first_s is not None and (newest is None or newest.version == version):
        stage = InstallStage.ACTING.value  # its receipt may still be on its way
    return msg.PolicyStatus(
        header=header(),
        robot=session.robot,
        boot_id=session.boot_id,
        task=session.rules.spec.id,
        version=version,
        epoch=manifest.epoch if manifest else 0,
        sha256=manifest.sha256 if manifest else "",
        previous_version=previous.version if previous else 0,
        incoming_version=newest.version if newest else version,
        stage=stage,
        contract_id=session.ids.contract,
        limits_id=session.ids.limits,
        reward_id=session.ids.reward,
        acting_since=_ros_time(first_s),
        manager_linked=updater.is_linked,
        name_refused=updater.name_refused,
        detail=newest.detail if newest else "",
    )


def result_to_msg(session: PolicySession, report: EpisodeReport) -> msg.EpisodeResult:
    """For the topic `episode_result`."""
    end, base_frame = report.end, session.driver.base_frame(session.model, session.robot)
    return to_message(
        msg.EpisodeResult,
        end,
        header=header(base_frame, end.stamp_ns),
        robot=session.robot,
        boot_id=session.boot_id,
        task=session.rules.spec.id,
        source=Source.ROBOT.value,
        interventions=report.interventions,
        work=object_to_msg(end.object, base_frame),
        detail=report.why,
    )


def _ros_time(mono_s: float | None) -> Time:
    return Time() if mono_s is None else to_time(now_ns() - round((time.monotonic() - mono_s) * 1e9))
