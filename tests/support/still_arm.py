"""A robot that stands still at home beside a box: links for a policy process without ROS, driver or safety."""

from __future__ import annotations

import time
from pathlib import Path

from floop_robot.robot.messages import (
    Cause,
    Interventions,
    JointTarget,
    PerceivedObject,
    Phase,
    ResetRequest,
    RobotState,
    SafetyMode,
    SafetyState,
)
from floop_robot.robot.policy_loop import PolicyLink
from floop_robot.services.main_loop import RobotArguments
from floop_robot.spec.config import Endpoints, FloopConfig
from floop_robot.spec.robot_model import load_robot
from tests.support.ports import free_base_port

ROBOT = "robot_1"
MODEL = load_robot("panda")
BOX = PerceivedObject(object_class="box", size_m=(0.04, 0.04, 0.04), position_m=(0.5, 0.0, 0.02), yaw_rad=0.0)


class StillArm:
    """Driver and safety of an arm that stands at home beside a box, and is ready for whatever episode is wanted."""

    def __init__(self) -> None:
        self.episode, self.targets, self.is_stopped = 0, list[JointTarget](), False
        self.is_silent = False
        """Neither driver nor safety say anything any more."""
        self.link = PolicyLink(Source(self.state), Source(self.report), Sink(self.targets.append), Sink(self.reset))

    def reset(self, request: ResetRequest) -> None:
        self.episode = request.episode

    def state(self) -> RobotState | None:
        if self.is_silent:
            return None
        now_s = time.monotonic()
        return RobotState(
            tick=int(now_s * 100), stamp_ns=time.time_ns(), mono_s=now_s, q_rad=MODEL.home_rad,
            dq_rad_s=(0.0,) * len(MODEL.home_rad), gripper_width_m=MODEL.gripper.max_width_m, gripper_effort_n=0.0,
            object=BOX, tote_m=(0.5, 0.3, 0.0), episode=self.episode, phase=Phase.READY,
        )  # fmt: skip

    def report(self) -> SafetyState | None:
        if self.is_silent:
            return None
        return SafetyState(
            tick=1, mono_s=time.monotonic(), mode=SafetyMode.ESTOP if self.is_stopped else SafetyMode.FOLLOWING,
            cause=Cause.NONE, interventions=Interventions(), q_rad=MODEL.home_rad, accepted_q_rad=MODEL.home_rad,
            target_seq=len(self.targets) - 1, target_episode=self.episode, estop=self.is_stopped,
        )  # fmt: skip


class Source:
    def __init__(self, make: object) -> None:
        self._make = make

    def receive(self) -> object:
        return self._make()  # type: ignore[operator]


class Sink:
    def __init__(self, take: object) -> None:
        self._take = take

    def send(self, message: object, /) -> None:
        self._take(message)  # type: ignore[operator]


def arguments(folder: Path) -> RobotArguments:
    endpoints = Endpoints(base_port=free_base_port())
    return RobotArguments(FloopConfig(run_dir=str(folder), robots=1, endpoints=endpoints), ROBOT)
