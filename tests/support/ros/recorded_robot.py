"""A robot of real nodes, and everything that is heard of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState

from floop_interfaces.msg import EpisodeResult, EpisodeState, PolicyStatus
from floop_interfaces.srv import DrainRobot, EndEpisode, LabelEpisode, StartEpisode
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from floop_robot.services.supervision.ros_domain import reserved_domain
from floop_robot.spec.records import Event, Label, Record
from tests.support.operator_tokens import TOKEN, operators_file
from tests.support.ros.estop_calls import reset_robot, stop_robot
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, RobotRig
from tests.support.waiting import wait_for

HERE = f"/{ROBOT}"
STANDS_RAD_S = 0.02


class Robot:
    """A robot and what is heard of it."""

    def __init__(self, rig: RobotRig, peer: Peer) -> None:
        self.rig, self.peer = rig, peer
        self.states = peer.listen(EpisodeState, f"{HERE}/episode_state", LATCHED)
        self.results = peer.listen(EpisodeResult, f"{HERE}/episode_result", EVENTS)
        self.status = peer.listen(PolicyStatus, f"{HERE}/policy_status", LATCHED)
        self.joints = peer.listen(JointState, f"{HERE}/joint_states", SENSOR)
        self.health = peer.listen(DiagnosticArray, "/diagnostics", EVENTS)

    @property
    def state(self) -> Any:
        return self.states[-1] if self.states else EpisodeState()

    def wait_phase(self, phase: str, timeout_s: float = 20.0) -> Any:
        wait_for(lambda: self.state.phase == phase, timeout_s, f"phase {phase}")
        return self.state

    def wait_ready(self) -> Any:
        wait_for(lambda: self.state.detail == "no start was requested", 20.0, f"ready, not {self.state.detail}")
        return self.state

    def start(self, **more: Any) -> Any:
        request = StartEpisode.Request(**({"who": "ann", "token": TOKEN} | more))
        return self.peer.call(StartEpisode, f"{HERE}/start_episode", request, 15.0)

    def end(self, **more: Any) -> Any:
        request = EndEpisode.Request(**({"who": "ann", "token": TOKEN} | more))
        return self.peer.call(EndEpisode, f"{HERE}/end_episode", request)

    def label(self, **more: Any) -> Any:
        request = LabelEpisode.Request(**({"who": "ann", "token": TOKEN} | more))
        return self.peer.call(LabelEpisode, f"{HERE}/label_episode", request)

    def drain(self, drain: bool, **more: Any) -> Any:
        request = DrainRobot.Request(**({"drain": drain, "who": "ann", "token": TOKEN} | more))
        return self.peer.call(DrainRobot, f"{HERE}/drain", request, 20.0)

    def estop(self, stop: bool) -> Any:
        return stop_robot(self.peer) if stop else reset_robot(self.peer)

    def stands(self) -> bool:
        return max(map(abs, self.joints[-1].velocity)) < STANDS_RAD_S

    def wait_result(self, number: int) -> Any:
        """Wait for the published result of this episode."""
        wait_for(lambda: number in [r.episode for r in self.results], 20.0, f"the result of episode {number}")
        return next(r for r in self.results if r.episode == number)

    def finished(self) -> Any:
        """Wait until the episode that runs ends by itself."""
        count = len(self.results)
        wait_for(lambda: len(self.results) > count, 20.0, "the end of the episode")
        return self.results[-1]

    def records(self) -> list[Record]:
        """What the robot has on its disk."""
        return [record for block in self.rig.blocks() for record in block.records()]

    def labels(self) -> list[Label]:
        return [r for r in self.records() if isinstance(r, Label)]

    def wait_event(self, name: str, detail: str) -> None:
        """Wait until the robot has this event on its disk."""
        wait_for(
            lambda: detail in [r.detail for r in self.records() if isinstance(r, Event) and r.name == name],
            what=f"event {name}: {detail}",
        )


@contextlib.contextmanager
def robot_on_call(folder: Path) -> Iterator[Robot]:
    """A robot whose episodes start on call: real arm, safety and policy nodes; orders need a token."""
    with reserved_domain() as domain:
        rig, peer = RobotRig(folder, domain, operators=operators_file(folder)), Peer(domain)
        rig.install()
        try:
            robot = Robot(rig, peer)
            rig.start_arm()
            node = rig.start("policy_node", "autostart:=true", "episode_start:=service")
            robot.wait_ready()
            yield robot
            node.end()
        finally:
            peer.close()
            rig.close()
