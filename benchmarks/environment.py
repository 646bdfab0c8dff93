"""The environments, measured: their speed, where the time goes, who succeeds in them, and whether grasps hold.

    python benchmarks/environment.py                               # rows per CPU second; share of physics; creep
    python benchmarks/environment.py --scenarios 1000              # and success of expert and shipped policies
    python benchmarks/environment.py --rates 12.5 20               # what the policy rate does to learning; minutes

Speed: whole environment steps (policy, controller, limiter, physics, perception, observation, reward), one process,
CPU time. The share of physics is that of `stepSimulation` and a perception frame. Success: as the robot observes it and
as the simulator knows it, on held-out scenarios, the same for every run of this file. Creep: how far objects move in
the closed hand within 2 s.
Rates: SAC from demonstrations at each rate until the given simulated time of fresh experience; success and pick time on
held-out scenarios. The discount is the same per second of simulated time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

from floop_robot.core import PolicyActor

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import numpy as np
import torch

from floop_envs.env import ArmEnv, make_env
from floop_envs.expert import Expert
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_policies import NAMES, baseline
from floop_robot.bundle import Actor, Bundle, Normalization
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.default_settings import TASK_SAC
from floop_robot.spec.ids import ids_of
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.tasks.layouts import POLICY_RATE_HZ
from floop_robot.train.training_episode import rows_of


class Random:
    """Uniform actions."""

    def mean(self, observation: Vector) -> Vector:
        """An action that depends on the observation alone, so that runs repeat."""
        return self.sample(observation, np.random.default_rng(abs(int(observation[0] * 1e6))))[0]

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        """An action and a density that nobody reads."""
        return rng.uniform(-1.0, 1.0, 5).astype(np.float32), 0.0


def speed(task: str, episodes: int) -> None:
    """Rows per CPU second of expert, shipped policy and random actions, and the part of it that is physics."""
    env = make_env(task)
    scenarios = scenarios_of(TrainingScenarios(task), Purpose.REPORT, 0, episodes)
    actors: dict[str, PolicyActor] = {"expert": Expert(env.rules.spec), "shipped policy": shipped(task)}
    physics = _physics_clock(env)
    for name, actor in {**actors, "random actions": Random()}.items():
        physics[0], began = 0.0, time.process_time()
        rows = sum(run_episode(env, actor, s).steps for s in scenarios)
        spent = time.process_time() - began
        print(
            f"{task:20s} {name:15s} {rows / spent:6.0f} rows/s   {1e6 * spent / rows:5.0f} us a row   "
            f"physics {100 * physics[0] / spent:3.0f} %",
            flush=True,
        )
    env.close()


def shipped(task: str) -> PolicyActor:
    """The actor of the task's shipped policy."""
    return Bundle.load(baseline(task)).actor()


def success(task: str, count: int) -> None:
    """Success of expert and shipped policy on `count` known scenarios."""
    env = make_env(task)
    scenarios = scenarios_of(TrainingScenarios(task), Purpose.REPORT, 1, count)
    for name, actor in {"expert": Expert(env.rules.spec), "shipped policy": shipped(task)}.items():
        results = [run_episode(env, actor, s) for s in scenarios]
        seen, true = (
            100 * statistics.mean(x) for x in ([r.success for r in results], [r.true_success for r in results])
        )
        rows = statistics.mean(r.steps for r in results)
        print(
            f"{task:20s} {name:15s} success {seen:5.1f} %   true {true:5.1f} %   "
            f"{rows:4.1f} rows   limit violations {sum(r.limit_violations for r in results)}",
            flush=True,
        )
    env.close()


def _physics_clock(env: ArmEnv) -> list[float]:
    """Adds up the CPU seconds that the world's steps take."""
    total, step = [0.0], type(env.world).step

    def timed(count: int) -> None:
        began = time.process_time()
        step(env.world, count)
        total[0] += time.process_time() - began

    env.world.step = timed  # type: ignore[method-assign]
    return total


def creep(episodes: int) -> None:
    """How far objects creep in the hand in 2 s."""
    env = make_env("floop/Pick-v0")
    expert, stay = Expert(env.rules.spec), np.array([0, 0, 0, 0, -1], np.float32)
    moved = []
    for scenario in scenarios_of(TrainingScenarios("floop/Pick-v0"), Purpose.REPORT, 0, episodes):
        if not run_episode(env, expert, scenario).true_success:
            continue
        for _ in range(4):
            env.step(stay)
        before = np.array(env.world.truth().object_position_m)
        for _ in range(25):
            env.step(stay)
        moved.append(1e3 * float(np.linalg.norm(env.world.truth().object_position_m - before)))
    print(f"creep in 2 s: median {statistics.median(moved):.3f} mm, most {max(moved):.2f} mm, {len(moved)} grasps")


def learning(rate_hz: float, seconds: float, seed: int) -> None:
    """SAC from 30 demonstrations on `seconds` of simulated experience at one policy rate."""
    env = make_env("floop/Pick-v0", policy_rate_hz=rate_hz)
    spec, ids, training = env.rules.spec, ids_of(env.rules, env.robot), TrainingScenarios("floop/Pick-v0")
    settings = TASK_SAC
    settings = msgspec.structs.replace(settings, gamma=settings.gamma ** (POLICY_RATE_HZ / rate_hz))
    algorithm, rng = SacAlgorithm(PolicySpace.of(spec), settings, seed), np.random.default_rng(seed)
    normalization = Normalization(tuple(spec.observation.offset.tolist()), tuple(spec.observation.scale.tolist()))
    began, experience, owed, index = time.process_time(), 0.0, 0.0, 0

    def take(actor: PolicyActor, purpose: Purpose, index: int, fresh: bool) -> float:
        scenario = scenarios_of(training, purpose, seed, 1, index)[0]
        done = run_episode(env, actor, scenario, rng, sample=True, record_trace=True)
        rows = rows_of(done.trace, index)
        source = Source.EXPLORER if fresh else Source.DEMONSTRATION
        rows.is_new[:] = fresh
        nonlocal owed
        owed += algorithm.take(StreamInfo(source.name, "", spec.id, ids, source), rows)
        return done.duration_s

    for index in range(30):
        take(Expert(spec), Purpose.DEMONSTRATION, index, fresh=False)
    owed = 0.0
    while experience < seconds:
        index += 1
        experience += take(Actor(*_exported(algorithm, normalization)), Purpose.TRAINING, index, fresh=True)
        owed -= algorithm.update(int(owed))
    spent = time.process_time() - began
    actor = Actor(*_exported(algorithm, normalization))
    results = [run_episode(env, actor, s) for s in scenarios_of(training, Purpose.REPORT, seed, 100)]
    won = [r.duration_s for r in results if r.success]
    print(
        f"{rate_hz:5.1f} Hz  seed {seed}  {experience:4.0f} s of experience  {algorithm.progress.gradient_steps:6d} "
        f"updates  {spent:4.0f} CPU s   success {len(won) / len(results):.2f}  "
        f"pick time {np.mean(won or [np.nan]):.2f} s",
        flush=True,
    )


def _exported(algorithm: SacAlgorithm, normalization: Normalization) -> tuple[object, ...]:
    architecture, tensors = actor_architecture(algorithm.model)
    return architecture, normalization, tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--scenarios", type=int, default=0, help="measure success on so many known scenarios")
    parser.add_argument("--rates", type=float, nargs="*", default=[], help="compare learning at these rates (Hz)")
    parser.add_argument("--seconds", type=float, default=480.0, help="simulated experience at each rate")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.episodes, options.scenarios, options.rates = 3, 3, []
    torch.set_num_threads(1)
    if options.rates:
        for seed in range(options.seeds):
            for rate in options.rates:
                learning(rate, options.seconds, seed)
        return
    if options.episodes:
        for task in dict.fromkeys(task for task, _ in NAMES):
            speed(task, options.episodes)
        creep(options.episodes)
    if options.scenarios:
        for task in dict.fromkeys(task for task, _ in NAMES):
            success(task, options.scenarios)


if __name__ == "__main__":
    main()
