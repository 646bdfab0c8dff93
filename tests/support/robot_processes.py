"""Small real processes around the links: `python -m tests.support.robot_processes ROLE FOLDER`."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import msgspec

from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.estop_socket import LATCH_FILE, EstopServer
from floop_robot.robot.ipc import IpcLinks
from floop_robot.robot.messages import JointCommand, JointTarget, Phase, RobotState
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.robot.safety_loop import SafetyCore, SafetyLink, SafetyLoop
from floop_robot.spec.robot_model import load_robot

MODEL = load_robot("panda")
STILL = (0.0,) * 7


def driver(links: IpcLinks, folder: Path) -> RateLoop:
    """An arm that is where it was commanded to be."""
    states, commands = links.states_out(), links.commands_in()
    at = JointCommand(
        tick=0, mono_s=0.0, q_rad=MODEL.home_rad, dq_rad_s=STILL, gripper_width_m=0.08, gripper_force_n=20.0
    )
    count = 0

    def tick(now_s: float) -> None:
        nonlocal at, count
        at, count = commands.receive() or at, count + 1
        states.send(
            RobotState(
                tick=count, stamp_ns=time.time_ns(), mono_s=now_s, q_rad=at.q_rad, dq_rad_s=at.dq_rad_s,
                gripper_width_m=at.gripper_width_m, gripper_effort_n=0.0, episode=1, phase=Phase.READY,
            )
        )  # fmt: skip

    return RateLoop(50.0, tick, "driver")


def safety(links: IpcLinks, folder: Path) -> RateLoop:
    core = SafetyCore(MODEL, 50.0, 12.5, 0.1, EstopLatch(folder / LATCH_FILE))
    link = SafetyLink(links.states_in(), links.targets_in(), links.commands_out(), links.reports_out())
    loop = SafetyLoop(core, link)
    EstopServer(folder, loop.estop)
    return RateLoop(50.0, loop.tick, "safety")


def policy(links: IpcLinks, folder: Path) -> RateLoop:
    """Swings the first joint to and fro; never at rest for long."""
    targets = links.targets_out()
    target = JointTarget(q_rad=MODEL.home_rad, gripper_width_m=0.04, gripper_force_n=20.0, episode=1)
    count = 0

    def tick(now_s: float) -> None:
        nonlocal count
        count += 1
        q = (0.3 * math.sin(3.0 * now_s), *MODEL.home_rad[1:])
        targets.send(msgspec.structs.replace(target, q_rad=q, seq=count, mono_s=now_s))

    return RateLoop(12.5, tick, "policy")


def main() -> None:
    role, folder = sys.argv[1], Path(sys.argv[2])
    with IpcLinks(folder) as links, {"driver": driver, "safety": safety, "policy": policy}[role](links, folder) as loop:
        print("up", flush=True)
        sys.stdin.read()
        loop.stop()
    if loop.failure is not None:
        raise loop.failure


if __name__ == "__main__":
    main()
