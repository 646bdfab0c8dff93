"""How often the failure monitor is wrong, and how soon it is right: `python benchmarks/failure_monitor.py`.

Fleets of four robots of the same success, which take turns. A false alarm is a class that is said to fail, on all
robots or on some only. In other fleets, one robot falls to 6 % after 40 episodes, and is to be named. Then: how long
a class goes on failing that failed on all robots, once they act on a version of some success.
"""

from __future__ import annotations

import argparse

import numpy as np

from floop_robot.monitor.failure_monitor import FailureMonitor

ROBOTS = tuple(f"robot_{i + 1}" for i in range(4))
SUCCESS, FALLEN = (0.97, 0.95), 0.06
FIRST, ALL, FAILED = 40, 400, 20
"""Episodes of the fleet: the first, all, and those before a fix."""


def false_alarms(seed: int, success: float) -> tuple[int | None, int | None]:
    """Number of the episode with which a class first fails, and of the one that first names a robot; None: never."""
    rng, monitor = np.random.default_rng(seed), FailureMonitor()
    failed: int | None = None
    for number in range(ALL):
        robot = ROBOTS[number % len(ROBOTS)]
        monitor.count((robot, "boot", number), "box", bool(rng.random() < success))
        if monitor.failing and failed is None:
            failed = number
        if monitor.failing_robots("box"):
            return failed, number
    return failed, None


def found_after(seed: int) -> float:
    """Episodes of robot_1 from its fall until it is named alone; infinite when it is not within `ALL`."""
    rng, monitor = np.random.default_rng(seed), FailureMonitor()
    for number in range(ALL):
        robot = ROBOTS[number % len(ROBOTS)]
        has_fallen = number >= FIRST and robot == ROBOTS[0]
        monitor.count((robot, "boot", number), "box", bool(rng.random() < (FALLEN if has_fallen else SUCCESS[0])))
        if has_fallen and monitor.failing_robots("box") == (ROBOTS[0],):
            return (number - FIRST) // len(ROBOTS) + 1.0
    return np.inf


def resolved_after(seed: int, success: float) -> float:
    """Episodes of the fleet, from the version on that does `success`, until a class that failed on all is resolved."""
    rng, monitor = np.random.default_rng(seed), FailureMonitor()
    for number in range(FAILED + ALL):
        is_success = number >= FAILED and bool(rng.random() < success)
        monitor.count((ROBOTS[number % len(ROBOTS)], "boot", number), "basket", is_success)
        if number >= FAILED and not monitor.failing:
            return number - FAILED + 1.0
    return np.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fleets", type=int, default=3000)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    options = parser.parse_args()
    fleets = 2 if options.smoke else options.fleets
    print(f"| {fleets} fleets | within {FIRST} episodes | within {ALL} |\n|---|---|---|")
    for success in SUCCESS:
        failed, named = zip(*(false_alarms(seed, success) for seed in range(fleets)), strict=True)
        for name, found in (("a class fails", failed), ("… on some robots only", named)):
            shares = [sum(each is not None and each < limit for each in found) / fleets for limit in (FIRST, ALL)]
            print(f"| {success:.0%}: {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    print("\n| success since the fix | resolved within 125 episodes | within 250 | median |\n|---|---|---|---|")
    for success in (0.90, 0.93, 0.95, 0.96, 0.97, 0.98, 0.99):
        after = np.array([resolved_after(seed, success) for seed in range(min(fleets, 500))])
        shares = [f"{np.mean(after <= limit):.0%}" for limit in (125, 250)]
        middle = np.quantile(after, 0.5, method="higher")
        print(f"| {success:.0%} | {' | '.join(shares)} | {middle:.0f} |", flush=True)
    found_at = [found_after(seed) for seed in range(fleets)]
    half, late = (np.quantile(found_at, share, method="higher") for share in (0.5, 0.9))
    print(f"\nfrom {SUCCESS[0]:.0%} to {FALLEN:.0%}: named after {half:.0f} episodes (median), {late:.0f} (90 %)")


if __name__ == "__main__":
    main()
