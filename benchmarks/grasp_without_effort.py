"""What a gripper that reports no effort costs: the shipped policy with the fingers' force, and without it.

    python benchmarks/grasp_without_effort.py                   # 300 scenarios of either task; minutes
    python benchmarks/grasp_without_effort.py --episodes 20

The same held-out scenarios both ways. Without effort the robot state has NaN for it, as a driver's without such a
sensor; observation and success then go by width, command and perception (`robot/grip_estimator.py`). Success as the
robot judges it, success as the simulator knows it, and how often the two differ either way.
"""

from __future__ import annotations

import argparse
import math
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec

from floop_envs.env import ArmEnv, make_env
from floop_envs.rollout import RolloutResult, run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.robot.messages import RobotState

SEED = 5


def hide_effort(env: ArmEnv) -> None:
    """From now on the gripper reports no effort."""
    measured = env.world.state

    def state() -> RobotState:
        return msgspec.structs.replace(measured(), gripper_effort_n=math.nan)

    env.world.state = state  # type: ignore[method-assign]


def episodes(task: str, count: int, *, hidden: bool) -> list[RolloutResult]:
    """The shipped policy in `count` held-out scenarios."""
    env, actor = make_env(task), Bundle.load(baseline(task)).actor()
    if hidden:
        hide_effort(env)
    found = [
        run_episode(env, actor, each) for each in scenarios_of(TrainingScenarios(task), Purpose.REPORT, SEED, count)
    ]
    env.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--tasks", nargs="*", default=["floop/Pick-v0", "floop/PickPlace-v0"])
    parser.add_argument("--smoke", action="store_true", help="one scenario, to see that it runs")
    given = parser.parse_args()
    count = 1 if given.smoke else given.episodes
    for task in given.tasks:
        for hidden in (False, True):
            found = episodes(task, count, hidden=hidden)
            judged, true = (sum(getattr(e, name) for e in found) for name in ("success", "true_success"))
            wrongly = sum(e.success and not e.true_success for e in found)
            missed = sum(e.true_success and not e.success for e in found)
            steps = sum(e.steps for e in found) / len(found)
            print(
                f"{task} {'without' if hidden else 'with   '} effort: judged {judged} of {len(found)}, true {true}, "
                f"judged but not true {wrongly}, true but not judged {missed}, {steps:.1f} steps an episode"
            )


if __name__ == "__main__":
    main()
