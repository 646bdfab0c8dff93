"""How soon and how well a fleet recovers from each shift when computing takes time: `floop_robot/loop.py` on few cores.

    python benchmarks/recovery.py                                   # shifts that perception names, seeds 20 and 21
    python benchmarks/recovery.py calibration --shift-robots robot_3 --seeds 20

Virtual time runs as fast as --cores cores of this machine allow: explorers, learner, gate and fitter share them as
the scheduler of a fleet orders (docs/design/processor_time.md). Robots, ingest and fleet manager have their part first.
Other programs on this machine make the run last longer, and each CPU second may do less.

One row for each run, with times from the first failure on:

* fails: a class is known to fail. accepted: the gate lets the first version through. act: all robots act on the fix.
  confirmed: its live success is shown to be `deploy.confirm_success`. next: from the first accepted version to the
  second. The JSON lines at the end also tell when one version showed 60, 70, 80 and 90 % (shown_s).
* 30 s, 60 s, ... end: success of the version in production so long after the shift, shifted / known tasks, as the
  report of `floop demo` measures it.
* live: what the robots that the shift concerns did in the last 60 s.
* joiners: first picks of robots that meet the shift with the last version, in worlds of their own, pooled.
* reference: the best success known for this shift (`benchmarks/references.json`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import torch

from floop_envs.env import make_env
from floop_envs.rollout import run_episode
from floop_robot.bundle import Bundle
from floop_robot.demo.references import best_known
from floop_robot.deploy.registry import LiveEpisode, Origin, read_history
from floop_robot.deploy.tti import TimeToImprovement, shown_success, time_to_improvement
from floop_robot.loop import Loop, LoopConfig, LoopProgress
from floop_robot.loop_parts import START_NS
from floop_robot.sim.sim_world import RobotScenarios, SimWorld, evaluation_scenarios
from floop_robot.spec.config import DeployConfig, FloopConfig, GateConfig, LearnerConfig
from floop_robot.spec.records import OutcomeCode
from floop_robot.spec.scenario import Scenario

PERCEIVED = ("new-object", "small", "sphere", "flat", "tall")
"""Shifts whose objects look other than known ones."""
SHIFT_AT_S = 5
LIVE_S = 60
FIRST_PICKS = 20
"""Of each robot that joins."""


class Success(msgspec.Struct, frozen=True):
    """Shares of scenarios in which a version succeeds."""

    shifted: float
    known: float


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One run; times in virtual seconds from the first failure, None where it did not come to that."""

    shift: str
    seed: int
    cores: float
    fails_s: float | None
    accepted_s: tuple[float, ...]
    """When each version passed the gate."""
    act_s: float | None
    confirmed_s: float | None
    shown_s: dict[str, float | None]
    """When one version's own episodes showed each bound of success."""
    success: dict[str, Success]
    """By time, in the order of time."""
    live: tuple[int, int]
    """Successes and episodes of the last `LIVE_S` seconds, on shifted tasks."""
    joiners: tuple[int, int]
    """Successes and picks."""
    reference: float | None
    explorer_rows: int
    gradient_steps: int
    verdicts: tuple[int, int, int]
    """Accepted, rejected, inconclusive."""


class Measurement:
    """Measures versions; the same weights once."""

    def __init__(self, options: argparse.Namespace, world: SimWorld, fleet: FloopConfig) -> None:
        self._env, self._options, self._world, self._fleet = make_env(options.task), options, world, fleet
        task, count, robots = options.task, options.episodes, fleet.robot_names
        shifted = world.shifted_robots(robots)
        self._shifted = evaluation_scenarios(task, world.shift, shifted, fleet.seed, count)
        self._known = evaluation_scenarios(task, None, robots, fleet.seed, count, uncorrected=shifted)
        self._found: dict[str, Success] = {}

    def success(self, bundle: Bundle) -> Success:
        """Of a version, as the demo's report measures it."""
        key = bundle.manifest.sha256
        if key not in self._found:
            rates = (self._count(bundle, each) / len(each) for each in (self._shifted, self._known))
            self._found[key] = Success(*rates)
        return self._found[key]

    def joiners(self, bundle: Bundle) -> tuple[int, int]:
        """First picks of robots that had no part in learning, pooled: successes and picks."""
        world, first = SimWorld(self._world.shift), len(self._fleet.robot_names)
        scenarios = [
            RobotScenarios(self._options.task, f"joiner_{i + 1}", first + i, self._fleet.seed).scenario(world, pick)
            for i in range(self._options.joiners)
            for pick in range(FIRST_PICKS)
        ]
        return self._count(bundle, scenarios), len(scenarios)

    def _count(self, bundle: Bundle, scenarios: list[Scenario]) -> int:
        actor, calibration = bundle.actor(), bundle.manifest.calibration
        done = (run_episode(self._env, actor, scenario, calibration=calibration) for scenario in scenarios)
        return sum(result.success for result in done)


def run(options: argparse.Namespace, shift: str, seed: int) -> Recovery:
    """One fleet, from the shift on."""
    learner = msgspec.json.decode(options.learner, type=LearnerConfig)
    deploy = msgspec.json.decode(options.deploy, type=DeployConfig)
    gate = msgspec.json.decode(options.gate, type=GateConfig)
    fleet = FloopConfig(task=options.task, seed=seed, learner=learner, deploy=deploy, gate=gate)
    world = SimWorld(shift, tuple(options.shift_robots))
    config = LoopConfig(
        fleet=fleet,
        shift=shift,
        shift_robots=world.robots,
        shift_at_s=SHIFT_AT_S,
        cores=options.cores,
        speed=options.speed,
    )
    bundles: dict[str, Bundle] = {}
    failing_s: float | None = None
    with tempfile.TemporaryDirectory(prefix="floop-recovery-") as folder, Loop(config, Path(folder)) as loop:
        for after_s in range(1 - SHIFT_AT_S, options.seconds + 1):
            progress = loop.second()
            if progress.failing and failing_s is None:
                failing_s = loop.now_s
            if after_s in options.at:
                bundles[f"{after_s} s"] = loop.registry.bundle(loop.version)
            if options.verbose:
                print(f"  {progress_line(after_s, progress)}", flush=True)
        result, history = loop.result(), read_history(loop.registry.path)
    bundles["end"] = result.bundle
    shifted = [
        e
        for e in history.episodes
        if e.production and virtual_s(e.observed_ns) > SHIFT_AT_S and world.shift_of(e.robot)
    ]
    latest = [e.outcome is OutcomeCode.SUCCESS for e in shifted if virtual_s(e.observed_ns) > result.seconds - LIVE_S]
    measurement, first_s = Measurement(options, world, fleet), first_failure_s(shifted)
    is_shifted = set(shifted).__contains__
    tti = time_to_improvement(history, is_shifted, fleet.robot_names, deploy)
    improved = tti if isinstance(tti, TimeToImprovement) else None
    return Recovery(
        shift=world.name,
        seed=seed,
        cores=options.cores,
        fails_s=None if failing_s is None else round(failing_s - first_s, 1),
        accepted_s=tuple(
            round(virtual_s(version.decided_ns) - first_s, 1)
            for version in history.versions
            if version.origin is Origin.GATE and virtual_s(version.decided_ns) > first_s
        ),
        act_s=improved and round(improved.tti_apply_s, 1),
        confirmed_s=improved and round(improved.tti_s, 1),
        shown_s=shown_success(history, is_shifted, deploy.alpha),
        success={at: measurement.success(bundle) for at, bundle in bundles.items()},
        live=(latest.count(True), len(latest)),
        joiners=measurement.joiners(result.bundle),
        reference=best_known(options.task, shift),
        explorer_rows=result.learner.explorer_rows,
        gradient_steps=result.learner.gradient_steps,
        verdicts=(result.accepted, result.rejected, result.inconclusive),
    )


def virtual_s(stamp_ns: int) -> float:
    """Virtual seconds since the start of the run."""
    return (stamp_ns - START_NS) * 1e-9


def first_failure_s(shifted: list[LiveEpisode]) -> float:
    """When a robot first failed at shifted tasks; the shift itself where none did."""
    first = next((e for e in shifted if e.outcome is not OutcomeCode.SUCCESS), None)
    return virtual_s(first.observed_ns) if first else float(SHIFT_AT_S)


def progress_line(after_s: int, progress: LoopProgress) -> str:
    """A virtual second, for people."""
    verdict = f"{progress.verdict.decision}: {progress.verdict.reason}" if progress.verdict else ""
    return (
        f"{after_s:4d} s  v{progress.version}  robots {progress.robot_successes}/{progress.robot_episodes}  "
        f"rows {progress.learner.explorer_rows}  steps {progress.learner.gradient_steps}  "
        f"{','.join(progress.failing)}  {verdict}"
    )


def table_header(times: list[str]) -> str:
    """Head of the table of `table_row`."""
    columns = ["shift", "seed", "fails", "accepted", "act", "confirmed", "next", *times, "live", "joiners", "reference"]
    return "| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|"


def table_row(found: Recovery) -> str:
    """A run as a line of the table."""
    first, second = (*found.accepted_s[:2], None, None)[:2]
    refined = None if first is None or second is None else second - first
    successes, picks = found.joiners
    cells = [
        found.shift,
        str(found.seed),
        *(_seconds(at) for at in (found.fails_s, first, found.act_s, found.confirmed_s, refined)),
        *(f"{each.shifted:.1%} / {each.known:.1%}" for each in found.success.values()),
        "{} of {}".format(*found.live),
        f"{successes} of {picks}",
        "–" if found.reference is None else f"{found.reference:.1%}",
    ]
    return "| " + " | ".join(cells) + " |"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shifts", nargs="*", default=list(PERCEIVED))
    parser.add_argument("--shift-robots", nargs="*", default=[], help="robots that the shift concerns; left out: all")
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21])
    parser.add_argument("--cores", type=float, default=2.0, help="of the fleet; 0: computing takes no time")
    parser.add_argument("--speed", type=float, default=1.0, help="of these cores, as a multiple of this machine's")
    parser.add_argument("--seconds", type=int, default=125, help="virtual seconds after the shift")
    parser.add_argument("--at", type=int, nargs="*", default=[30, 60, 120], help="seconds after it, to measure at")
    parser.add_argument("--episodes", type=int, default=500, help="shifted scenarios, and known ones, of a measurement")
    parser.add_argument("--joiners", type=int, default=5, help="robots that join at the end")
    parser.add_argument("--learner", default="{}", help="JSON of LearnerConfig fields that differ")
    parser.add_argument("--deploy", default="{}", help="JSON of DeployConfig fields that differ")
    parser.add_argument("--gate", default="{}", help="JSON of GateConfig fields that differ")
    parser.add_argument("--verbose", action="store_true", help="a line for each virtual second, too")
    parser.add_argument("--smoke", action="store_true", help="a few virtual seconds, to see that it runs")
    options = parser.parse_args()
    if options.smoke:
        options.shifts, options.seeds, options.seconds, options.at = ["small"], [0], 2, [1]
        options.episodes, options.joiners = 2, 1
    torch.set_num_threads(1)
    print(table_header([*(f"{at} s" for at in options.at), "end"]), flush=True)
    runs = []
    for shift in options.shifts:
        for seed in options.seeds:
            runs.append(run(options, shift, seed))
            print(table_row(runs[-1]), flush=True)
    for each in runs:
        print(msgspec.json.encode(each).decode())


if __name__ == "__main__":
    main()
