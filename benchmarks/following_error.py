"""How far simulated arms are from where they were commanded to be, at work and while something holds them.

    python benchmarks/following_error.py --episodes 40

For each task's shipped policy, at training scenarios: each servo tick, how far any joint is beyond the range of its
commands of the last second (`robot/following_error.py`). `lag_s` delays the commands, as a slow trajectory
controller does. `held`: the arm stops by itself in the middle of an episode, as by its own e-stop, and stays so for
8 s; the largest such error meanwhile. `share_beyond`: which share of ticks, or of holds, is beyond each limit.
One JSON object a line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from floop_envs.scenarios import TrainingScenarios
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.robot.messages import Joints
from floop_robot.spec.driver_config import FOLLOWING_ERROR_S
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task, task_ids
from tests.support.control_loop_rig import Rig

RATE_HZ = 50.0
LIMITS_RAD = (0.05, 0.1, 0.2, 0.3, 0.35, 0.4)
HOLD_TICKS = 400


class Recorder:
    """Takes the place of the watch: never stops, and keeps the largest error of each tick."""

    def __init__(self) -> None:
        self._commands: deque[Joints] = deque(maxlen=round(FOLLOWING_ERROR_S * RATE_HZ))
        self.errors: list[float] = []

    def clear(self) -> None:
        """As `FollowingError`."""
        self._commands.clear()

    def check(self, commanded: Joints, measured: Joints) -> str:
        """As `FollowingError`."""
        self._commands.append(commanded)
        error = 0.0
        if len(self._commands) == self._commands.maxlen:
            for found, asked in zip(measured, zip(*self._commands, strict=True), strict=True):
                error = max(error, found - max(asked), min(asked) - found)
        self.errors.append(error)
        return ""


class SlowWorld:
    """A world whose arm gets its commands late, or not at all while it is held."""

    def __init__(self, world: Any, lag_ticks: int) -> None:
        self._world, self._waiting = world, deque[Any](maxlen=lag_ticks + 1)
        self.is_held, self._held_at = False, None

    def servo_tick(self, q: Joints, dq: Joints, width_m: float, force_n: float) -> None:
        """As `World`."""
        if self.is_held:
            self._held_at = self._held_at or self._world.state().q_rad
            self._world.servo_tick(self._held_at, (0.0,) * len(q), width_m, force_n)
            return
        self._held_at = None
        self._waiting.append((q, dq, width_m, force_n))
        self._world.servo_tick(*self._waiting[0])

    def reset(self, scenario: Any) -> None:
        """As `World`."""
        self._waiting.clear()
        self._world.reset(scenario)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


def at_work(task: str, episodes: int, lag_s: float, hold: bool, seed: int) -> dict[str, Any]:
    """Errors of one kind of run."""
    rng, source, rules = np.random.default_rng(seed), TrainingScenarios(task), get_task(task)
    scenarios = [source.sample(rng) for _ in range(episodes)]
    rig = Rig(load_robot("panda"), rules, scenarios, Bundle.load(baseline(task)).actor())
    recorder = Recorder()
    rig.safety.core._following = recorder  # type: ignore[assignment]
    rig.world = world = SlowWorld(rig.world, round(lag_s * RATE_HZ))  # type: ignore[assignment]
    held: list[float] = []
    while len(rig.sink.ends) < episodes:
        before = len(rig.sink.ends)
        if hold:
            rig.run(int(rng.integers(20, 60)))
            recorder.clear()
            if len(rig.sink.ends) == before:
                world.is_held = True
                recorder.errors.clear()
                rig.run(HOLD_TICKS)
                held.append(max(recorder.errors))
                world.is_held = False
        while len(rig.sink.ends) == before:
            rig.run(1)
    rig.world.close()
    found = held if hold else recorder.errors
    shares = {str(limit): sum(e > limit for e in found) / max(1, len(found)) for limit in LIMITS_RAD}
    return {
        "task": task,
        "what": "held" if hold else "at work",
        "lag_s": lag_s,
        "count": len(found),
        "median_rad": round(float(np.median(found)), 4),
        "p1_rad": round(float(np.quantile(found, 0.01)), 4),
        "p999_rad": round(float(np.quantile(found, 0.999)), 4),
        "max_rad": round(max(found), 4),
        "share_beyond": {k: round(v, 5) for k, v in shares.items()},
        "successes": sum(e.outcome.name == "SUCCESS" for e in rig.sink.ends),
        "episodes": episodes,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    given = parser.parse_args()
    episodes = 1 if given.smoke else given.episodes
    for task in task_ids()[: 1 if given.smoke else None]:
        for lag_s, hold in ((0.0, False), (0.1, False), (0.3, False), (0.0, True)):
            print(json.dumps(at_work(task, episodes, lag_s, hold, given.seed)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
