"""How well the simulator is fitted to a robot: estimates against the truth, coverage of the intervals, CPU time.

    python benchmarks/simulator_fit.py --first-seed 20 --seeds 5

A simulated robot with hidden parameters of its own (`floop_envs.shifts.RealityGap`) runs the shipped policy. It is
fitted from its first episodes after the shift (`floop_robot.fit.fit_robot`). Then the policy runs in fitted worlds and
in the robot's, on other scenarios: practice is worth as much as its success is alike. Load is mass over friction, each
over that of the catalog; only this ratio can be told. Intervals hold 80 % of the samples.

    python benchmarks/simulator_fit.py narrow stuck lets-go --seeds 2

These are grippers that no hidden parameter describes: does a fit say so?
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from floop_envs.env import ArmEnv, make_env
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios, model_of
from floop_envs.seeds import Purpose, scenarios_of
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.core import PolicyActor
from floop_robot.fit.fit_robot import fit_robot
from floop_robot.fit.recorded_episodes import RecordedEpisode
from floop_robot.fit.replay import Replayer
from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.robot.messages import Joints
from floop_robot.sim.sim_world import RobotScenarios, SimWorld
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.simulator_fit import SimulatorFit

SHIFTS = ("", "worn-grip", "slippery", "latency", "calibration")
BROKEN: dict[str, Callable[[ArmEnv, float], float]] = {
    "narrow": lambda _, width_m: min(width_m, 0.04),
    "stuck": lambda _, width_m: max(width_m, 0.055),
    "lets-go": lambda env, width_m: env.world.robot.gripper.max_width_m if env.world.truth().lift_m > 0.03 else width_m,
}
"""Grippers: the width that they are told becomes another one."""
VALUES = ("load", "force", "latency_s", "x_mm", "y_mm", "z_mm", "noise_mm")


def arm(task: str, shift: str) -> ArmEnv:
    """The simulated robot's arm, broken or not."""
    env = make_env(task)
    command = env.world.command

    def broken(q_rad: Joints, dq_rad_s: Joints, gripper_width_m: float, gripper_force_n: float) -> None:
        command(q_rad, dq_rad_s, BROKEN[shift](env, gripper_width_m), gripper_force_n)

    if shift in BROKEN:
        env.world.command = broken  # type: ignore[method-assign]
    return env


def recorded(env: ArmEnv, actor: PolicyActor, scenario: Scenario) -> RecordedEpisode:
    result = run_episode(env, actor, scenario, record_trace=True)
    return RecordedEpisode(
        object=result.object,
        obs=np.array([*(step.obs for step in result.trace), result.trace[-1].next_obs]),
        actions=np.array([step.action_requested for step in result.trace]),
        success=result.success,
    )


def true_values(scenarios: list[Scenario]) -> dict[str, float]:
    """What the fit should find; loads differ from object to object, so their median."""
    first = scenarios[0]
    x, y, z = first.calibration_offset_m
    loads = [s.object.mass_kg / s.object.lateral_friction / _usual_load(s) for s in scenarios]
    found = (float(np.median(loads)), min(1.0, first.gripper_force_n / GRIP_FORCE_N), first.latency_s)
    return dict(zip(VALUES, (*found, 1e3 * x, 1e3 * y, 1e3 * z, 1e3 * first.position_noise_m), strict=True))


def _usual_load(scenario: Scenario) -> float:
    model = model_of(scenario.object.object_class)
    return float(np.mean(model.mass_kg) / np.mean(model.lateral_friction))


def fitted_values(fit: SimulatorFit) -> dict[str, np.ndarray]:
    """The same of each sample."""
    rows = [
        (
            s.mass_factor / s.friction_factor, min(1.0, s.gripper_force_factor), s.latency_s,
            1e3 * s.calibration_x_m, 1e3 * s.calibration_y_m, 1e3 * s.calibration_z_m, 1e3 * s.position_noise_m,
        )
        for s in fit.samples
    ]  # fmt: skip
    return dict(zip(VALUES, np.array(rows).T, strict=True))


class Study:
    """Robots of all shifts and seeds."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.env, self.replayer = make_env(options.task), Replayer(options.task, "panda")
        self.actor = Bundle.load(baseline(options.task, options.algo)).actor()
        self.inside: defaultdict[tuple[str, str], list[bool]] = defaultdict(list)

    def robot(self, shift: str, seed: int) -> str:
        """Fit one robot; returns the line of the table."""
        o, world, env = (
            self.options,
            SimWorld(None if shift in BROKEN else shift or None),
            arm(self.options.task, shift),
        )
        source = RobotScenarios(o.task, "robot_1", 0, seed)
        scenarios = [source.scenario(world, episode) for episode in range(o.episodes)]
        episodes = [recorded(env, self.actor, scenario) for scenario in scenarios]
        began, fit = time.process_time(), None
        for found in fit_robot(self.replayer, "robot_1", episodes, np.random.default_rng(seed)):
            fit = found or fit
            if o.smoke and fit:
                break
        spent_s = time.process_time() - began
        assert fit is not None
        cells = []
        for name, samples in fitted_values(fit).items():
            truth, (low, high) = true_values(scenarios)[name], np.quantile(samples, (0.1, 0.9))
            margin = 0.01 if name in ("force", "latency_s") else 0.1 if name.endswith("mm") else 0.0
            self.inside[shift, name].append(bool(low - margin <= truth <= high + margin))
            cells.append(f"{truth:.2f} [{low:.2f}, {high:.2f}]")
        real = [source.scenario(world, 1000 + i) for i in range(o.rollouts)]
        success = " / ".join([f"{self.success(env, real):.0%}", self.fitted_success(seed, fit)])
        env.close()
        return (
            f"| {shift or '(none)'} | {seed} | {' | '.join(cells)} | {fit.mismatch_nominal:.2f} → {fit.mismatch:.2f}"
            f"{'' if fit.explains else ', not explained'}"
            f" | {success} | {spent_s:.1f} |"
        )

    def success(self, env: ArmEnv, scenarios: list[Scenario]) -> float:
        """Of the shipped policy."""
        return float(np.mean([run_episode(env, self.actor, scenario).success for scenario in scenarios]))

    def fitted_success(self, seed: int, fit: SimulatorFit) -> str:
        """The same in fitted worlds, and in the simulator as it is."""
        o, rng = self.options, np.random.default_rng(seed)
        known = scenarios_of(TrainingScenarios(o.task), Purpose.REPORT, seed, o.rollouts)
        fitted = [fit.draw(rng).apply(scenario) for scenario in known]
        return f"{self.success(self.env, fitted):.0%} / {self.success(self.env, known):.0%}"

    def coverage(self, shift: str) -> str:
        """Share of intervals that hold the truth."""
        return " | ".join(f"{np.mean(self.inside[shift, name]):.0%}" for name in VALUES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shifts", nargs="*", help=f"left out: none, {', '.join(SHIFTS[1:])}; or {', '.join(BROKEN)}")
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--algo", choices=("sac", "ppo"), default="sac", help="whose shipped policy the robots run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=20, help="constants of the fit were chosen on 0 to 9")
    parser.add_argument("--episodes", type=int, default=8, help="recorded episodes of a robot")
    parser.add_argument("--rollouts", type=int, default=50, help="scenarios of each success")
    parser.add_argument("--smoke", action="store_true", help="one robot, to see that it runs")
    options = parser.parse_args()
    shifts = tuple(options.shifts) or SHIFTS
    if options.smoke:
        shifts, options.seeds, options.episodes, options.rollouts = ("worn-grip",), 1, 2, 1
    study = Study(options)
    print(f"| shift | seed | {' | '.join(VALUES)} | mismatch | success: robot / fitted / simulator as it is | CPU s |")
    print("|" + "---|" * (len(VALUES) + 5))
    for shift in shifts:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            print(study.robot(shift, seed), flush=True)
    for shift in shifts:
        print(f"intervals that hold the truth, {shift or '(none)'}: {study.coverage(shift)}")


if __name__ == "__main__":
    main()
