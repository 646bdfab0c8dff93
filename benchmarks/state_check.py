"""What it costs to judge a robot state, and a servo tick of safety with it and without.

    python benchmarks/state_check.py

One core, no ROS. The state is a Panda's that stands or swings; median and 99th percentile in microseconds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from floop_robot.robot.checked_states import CheckedStates
from floop_robot.robot.messages import JointTarget, Phase, RobotState
from floop_robot.robot.safety_loop import SafetyCore
from floop_robot.robot.state_check import ArmReading, StateCheck
from floop_robot.spec.robot_model import load_robot

MODEL = load_robot("panda")
PERIOD_S = 0.02


class States:
    """A swinging arm: `receive` gives one state per servo period."""

    def __init__(self) -> None:
        self.n = 0

    def receive(self) -> RobotState:
        """The next one."""
        self.n += 1
        now_s = 100.0 + self.n * PERIOD_S
        q = tuple(x + 0.1 * math.sin(0.5 * now_s) for x in MODEL.home_rad)
        return RobotState(
            tick=self.n, stamp_ns=round(now_s * 1e9), mono_s=now_s, q_rad=q, dq_rad_s=(0.0,) * 7, episode=1,
            phase=Phase.READY, gripper_width_m=0.08, gripper_effort_n=0.1,
        )  # fmt: skip


def measure(name: str, count: int, prepare: Callable[[int], Callable[[], object]]) -> None:
    """Time what `prepare` makes for each number, and print it."""
    spent = []
    for i in range(count):
        run = prepare(i)
        began = time.perf_counter_ns()
        run()
        spent.append((time.perf_counter_ns() - began) / 1000)
    print(f"{name}: p50 {np.percentile(spent, 50):.1f} µs, p99 {np.percentile(spent, 99):.1f} µs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--smoke", action="store_true", help="a few states, to see that it runs")
    given = parser.parse_args()
    count = 200 if given.smoke else given.count
    check, states = StateCheck(MODEL, wall_clock_ns=lambda: 10**18), States()

    def judge(unknown: bool) -> Callable[[int], Callable[[], object]]:
        def prepare(_: int) -> Callable[[], object]:
            s = states.receive()
            dq = (math.nan,) * 7 if unknown else s.dq_rad_s
            reading = ArmReading(s.q_rad, dq, s.stamp_ns, s.mono_s)
            return lambda: check.take(reading, Phase.READY)

        return prepare

    measure("judge a reading", count, judge(False))
    measure("judge a reading without velocities", count, judge(True))
    for checked in (False, True):
        source = States()
        core = SafetyCore(MODEL, 50.0, 12.5, 0.1)
        subscriber = CheckedStates(source, MODEL, 0.1) if checked else source

        def tick(
            i: int, source: States = source, core: SafetyCore = core, subscriber: States | CheckedStates = subscriber
        ) -> Callable[[], object]:
            now_s = 100.0 + (source.n + 1) * PERIOD_S
            if i % 4 == 0:
                q = tuple(x + 0.1 * math.sin(0.5 * now_s) for x in MODEL.home_rad)
                core.take_target(
                    JointTarget(q_rad=q, gripper_width_m=0.08, gripper_force_n=20.0, seq=i, mono_s=now_s, episode=1)
                )

            def run() -> None:
                if (state := subscriber.receive()) is not None:
                    core.take_state(state)
                core.tick(now_s)

            return run

        measure(f"a servo tick {'with' if checked else 'without'} the check", count, tick)


if __name__ == "__main__":
    main()
