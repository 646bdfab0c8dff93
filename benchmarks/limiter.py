"""Hostile targets and actions through the safety limiter, and whether any command leaves a limit.

    python benchmarks/limiter.py --count 1000000

Every shipped arm gets its share of every kind of hostility. Commands are judged by what they are, not by what the
limiter says: positions, their differences as velocities, the differences of those as accelerations, and the tool's
place by forward kinematics. Prints a line per arm and kind, then one JSON object; fails if anything was outside.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_robot.robot.controller import ArmController
from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.limiter import SafetyLimiter
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.tasks import get_task

ARMS = ("panda", "ur5e", "ur10e", "xarm6", "xarm7")
KINDS = ("jumps", "beyond", "reversals", "drift", "near", "garbage", "resonance", "actions", "wild actions")
RATE_HZ, TICKS_PER_TARGET = 50.0, 4
RUN = 5_000
"""Targets in one run: then the arm begins anew at home."""
NASTY = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-308, 5e-324, 0.0, -0.0, 1e6, -1e6)

Array = NDArray[np.float64]


class Result(msgspec.Struct, frozen=True):
    """What one kind of hostility came to on one arm."""

    arm: str
    kind: str
    targets: int
    position: int
    velocity: int
    acceleration: int
    workspace: int
    worst: float
    """How far the worst command is over its limit (below 0: inside), for rates as a share of it, else in rad or m."""
    interventions: int
    us_per_target: float

    @property
    def outside(self) -> int:
        """Commands outside any limit."""
        return self.position + self.velocity + self.acceleration + self.workspace


def targets(kind: str, model: RobotModel, limiter: SafetyLimiter, n: int, rng: np.random.Generator) -> Iterator[Array]:
    """`n` hostile targets; some look at where the limiter is."""
    low, high = np.array(model.limits.position_lower_rad), np.array(model.limits.position_upper_rad)
    home, size = np.array(model.home_rad), len(model.home_rad)
    if kind in ("actions", "wild actions"):
        yield from through_controller(kind, model, limiter, n, rng)
        return
    q = home.copy()
    for i in range(n):
        match kind:
            case "jumps":
                q = rng.uniform(low, high) if rng.random() < 0.2 else q
            case "beyond":
                q = rng.uniform(low * 3 - 1, high * 3 + 1) if rng.random() < 0.05 else q
            case "reversals":
                q = np.where(rng.random(size) < 0.5, low, high) if i % rng.integers(1, 8) == 0 else q
            case "drift":
                q = np.clip(q + rng.normal(scale=0.05, size=size), low - 0.2, high + 0.2)
            case "near":
                q = home + rng.normal(scale=0.3, size=size)
            case "garbage":
                q = rng.uniform(low, high)
                if rng.random() < 0.3:
                    q[rng.integers(size)] = NASTY[rng.integers(len(NASTY))]
            case "resonance":  # always away from where the arm is heading, at the pace of its own braking
                sign = np.sign(np.array(limiter.accepted) - np.array(limiter.q)) + (rng.random(size) < 0.1)
                q = np.array(limiter.q) - sign * rng.uniform(0.0, 0.5, size) if i % 3 == 0 else q
        yield q


def through_controller(
    kind: str, model: RobotModel, limiter: SafetyLimiter, n: int, rng: np.random.Generator
) -> Iterator[Array]:
    """The way a policy's actions go: one action, one joint target for so many ticks. Wild ones are far beyond ±1."""
    controller = ArmController(model, get_task("floop/Pick-v0").spec)
    controller.reset(limiter.q)
    for i in range(n):
        if i % TICKS_PER_TARGET == 0:
            scale = 1.0 if kind == "actions" else 10.0 ** rng.uniform(-3, 6)
            action = np.sign(rng.normal(size=5)) * scale if rng.random() < 0.5 else rng.uniform(-scale, scale, 5)
            target = controller.command(action.astype(np.float32), limiter.q).q_rad
        yield np.array(target)


def judge(model: RobotModel, kinematics: Kinematics, commands: Array) -> tuple[int, int, int, int, float]:
    """Commands (n, joints) outside position, velocity, acceleration and box, and the worst of all."""
    limits = model.limits
    velocity = np.diff(commands, axis=0) * RATE_HZ
    acceleration = np.diff(velocity, axis=0) * RATE_HZ
    places = np.array([kinematics.position(q) for q in commands.tolist()])
    over = (
        np.maximum(np.subtract(limits.position_lower_rad, commands), commands - np.array(limits.position_upper_rad)),
        np.abs(velocity) / np.array(limits.velocity_rad_s) - 1.0,
        np.abs(acceleration) / np.array(limits.acceleration_rad_s2) - 1.0,
        np.maximum(np.subtract(limits.workspace_low_m, places), places - np.array(limits.workspace_high_m)),
    )
    counts = [int((x > 0.0).any(axis=1).sum()) for x in over]
    return counts[0], counts[1], counts[2], counts[3], max(float(x.max()) for x in over)


def attack(arm: str, kind: str, count: int, seed: int) -> Result:
    """`count` targets of a kind through the limiter of an arm."""
    model = load_robot(arm)
    kinematics = Kinematics(model)
    rng = np.random.default_rng([seed, ARMS.index(arm), KINDS.index(kind)])
    totals, worst, interventions, busy_s, done = np.zeros(4, int), -np.inf, 0, 0.0, 0
    limiter = SafetyLimiter(model, RATE_HZ, TICKS_PER_TARGET)
    while done < count:
        n = min(RUN, count - done)
        limiter.reset(model.home_rad)
        commands = [limiter.q, limiter.q]
        for target in targets(kind, model, limiter, n, rng):
            wanted = tuple(target.tolist())
            start = time.perf_counter()
            command = limiter.step(wanted)
            busy_s += time.perf_counter() - start
            commands.append(command.q)
            interventions += command.intervened
        *counts, worst_here = judge(model, kinematics, np.array(commands))
        totals, worst, done = totals + counts, max(worst, worst_here), done + n
    return Result(arm, kind, count, *map(int, totals), float(worst), interventions, busy_s / count * 1e6)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="targets in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.count = 450
    share = -(-arguments.count // (len(ARMS) * len(KINDS)))
    results = []
    for arm in ARMS:
        for kind in KINDS:
            result = attack(arm, kind, share, arguments.seed)
            results.append(result)
            print(
                f"{arm:6} {kind:13} {result.targets:8} targets, {result.outside} outside, worst {result.worst:+.2e}, "
                f"{result.interventions:7} interventions, {result.us_per_target:.0f} µs each",
                flush=True,
            )
    outside = sum(r.outside for r in results)
    total = sum(r.targets for r in results)
    print(json.dumps({"targets": total, "outside": outside, "results": [msgspec.to_builtins(r) for r in results]}))
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
