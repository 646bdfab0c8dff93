"""A policy that swings the first joint and is never at rest for long; hostile on command.

Lines on standard input: `go`, `nan` (send NaN from now on), `well` (sane again), `spin S` (hold the interpreter lock
for about S seconds, as a broken extension would). Ends with its standard input.
"""

from __future__ import annotations

import math
import sys
import threading
import time

import rclpy
from rclpy.context import Context
from rclpy.node import Node

from floop_interfaces import msg
from floop_robot.robot.messages import JointTarget
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.ros.arm.convert import target_to_msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.dds import without_shared_memory
from floop_robot.ros.node.io import RosPublisher, RosSubscriber
from floop_robot.ros.node.qos import COMMAND, LATCHED
from floop_robot.spec.robot_model import load_robot

HOME = load_robot("panda").home_rad
REACH_RAD, PACE = 0.35, 3.0


def numbers_per_s() -> float:
    """How fast this machine sums them up, in one go."""
    start = time.monotonic()
    sum(range(1 << 20))
    return (1 << 20) / (time.monotonic() - start)


def spin(count: int) -> None:
    """One call of C code that never lets go of the interpreter lock; prints the wall clock when it begins."""
    print(time.time(), flush=True)
    sum(range(count))


class Swing:
    def __init__(self, node: Node) -> None:
        self._episodes = RosSubscriber(node, msg.EpisodeState, topics.DRIVER_EPISODE, LATCHED, lambda m, _: m.episode)
        self._targets = RosPublisher(node, msg.JointTarget, topics.JOINT_TARGET, COMMAND, target_to_msg)
        self._episode = self._seq = 0
        self.goes, self.is_well = threading.Event(), True

    def tick(self, now_s: float) -> None:
        self._episode = self._episodes.receive() or self._episode
        if not self.goes.is_set():
            return
        self._seq += 1
        swing = REACH_RAD * math.sin(PACE * now_s) if self.is_well else math.nan
        self._targets.send(
            JointTarget(
                q_rad=(swing, *HOME[1:]), gripper_width_m=0.04, gripper_force_n=20.0, seq=self._seq, mono_s=now_s,
                episode=self._episode,
            )
        )  # fmt: skip


def main() -> None:
    context = Context()
    rclpy.init(args=sys.argv, context=context)
    with without_shared_memory():  # this one is frozen while it may hold a lock in it
        node = Node("swinging_policy", context=context)
    swing = Swing(node)
    pace = numbers_per_s()
    with RateLoop(12.5, swing.tick, "control", phase_s=0.006) as loop:
        for line in sys.stdin:
            match line.split():
                case ["go"]:
                    swing.goes.set()
                case ["nan"]:
                    swing.is_well = False
                case ["well"]:
                    swing.is_well = True
                case ["spin", seconds]:
                    spin(int(float(seconds) * pace))
        loop.stop()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


if __name__ == "__main__":
    main()
