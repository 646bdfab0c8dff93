"""The best policy known for each shift: trained offline, long, and with knowledge of the shift. For reports only.

    nice -n 15 python benchmarks/references.py new-object small   # some 10 CPU minutes a shift

A reference says whether a shift can be learned at all, and how far a fleet is from what can be reached. It never meets
a fleet: policies stay in --out, outside package and registry. Their success goes to benchmarks/references.json, which
only the report of `floop demo` reads.

Method: first the loop in virtual time (`floop_robot/loop.py`), as a fleet would learn. Then `--rows` more rows of the
policy's own samples: 70 % of the episodes are shifted tasks as they truly are, with hidden parameters of robots that
no demo has; the rest are known tasks. Candidates are selected on scenarios for selection. The best one is measured
once, on `--episodes` others: shifted tasks in the worlds of the robots of --report-seeds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import numpy as np
import torch

from floop_envs.env import make_env
from floop_envs.rollout import run_episode
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenario_of, seed_of
from floop_envs.shifts import RealityGap, shifted_scenarios
from floop_robot.bundle import Bundle, write_atomic
from floop_robot.demo.references import Reference, read_references, references_file
from floop_robot.explore.episode_records import episode_records
from floop_robot.loop import Loop, LoopConfig
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import ActMode, Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.tasks import get_task
from floop_robot.stream.memory_journal import MemorySink

ROBOT = "panda"
SHIFTED_SHARE = 0.7
ROWS_PER_CANDIDATE = 3000
GAPS = tuple(RealityGap(f"reference_{i}", 9999) for i in range(16))
"""Hidden parameters of robots that no demo has."""


class ReferenceTraining:
    """Trains one policy for one shift."""

    def __init__(self, options: argparse.Namespace, shift: str, loop: Loop) -> None:
        self._options, self._shift, self._loop = options, shift, loop
        self._env = make_env(options.task)
        self._rng = np.random.default_rng(options.seed)
        self._shifted, self._known = shifted_scenarios(shift, options.task), TrainingScenarios(options.task)
        ids = ids_of(get_task(options.task), load_robot(ROBOT))
        stream = StreamInfo("explorer_2", "reference", options.task, ids, Source.EXPLORER)
        self._sink = MemorySink(loop.journal, stream)
        self._episode = 0
        self.best: Bundle | None = None
        self._best_success = -1.0

    def run(self) -> Bundle:
        """Train; returns the policy that did best on the scenarios for selection."""
        for _ in range(self._options.loop_seconds):
            self._loop.second()
            self._consider()
        rows = 0
        while rows < self._options.rows:
            made = 0
            while made < ROWS_PER_CANDIDATE:
                made += self._practice()
            rows += made
            self._learn()
            self._consider(f"{rows} rows")
        assert self.best is not None, "no candidate was made; use more --rows"
        return self.best

    def _practice(self) -> int:
        """One sampled episode; returns its steps."""
        self._episode += 1
        source = self._shifted if self._rng.random() < SHIFTED_SHARE else self._known
        number = seed_of(Purpose.TRAINING, self._options.seed, self._episode)
        scenario = GAPS[self._episode % len(GAPS)].apply(scenario_of(source, number))
        actor = self._loop.published.live.actor()
        result = run_episode(self._env, actor, scenario, self._rng, sample=True, record_trace=True)
        version = self._loop.published.version
        for record in episode_records(result, self._episode, version, ActMode.SAMPLE, self._loop.clock_ns()):
            self._sink.put(record)
        # Live weights are published by the clock, and gradient steps paid for by rows: so both go on as they come.
        while self._loop.learner.step(0.0):
            pass
        self._loop.now_s += result.steps / 300.0
        return result.steps

    def _learn(self) -> None:
        self._loop.now_s += 60.0  # a candidate is due
        self._loop.learner.step(0.0)

    def _consider(self, when: str = "") -> None:
        candidate = self._loop.published.take_candidate()
        if candidate is None and not when:
            return
        candidate = candidate or self._loop.learner.bundle()
        sources = self._shifted, self._known
        shifted, known = (self._success(candidate, self._selection(source)) for source in sources)
        if when:
            print(f"  {self._shift} after {when}: shifted {shifted:.1%}, known {known:.1%}", flush=True)
        if shifted + min(known, 0.98) > self._best_success:  # known tasks count until they are as good as shipped
            self.best, self._best_success = candidate, shifted + min(known, 0.98)

    def _selection(self, source: TrainingScenarios) -> list[Scenario]:
        numbers = (seed_of(Purpose.SELECTION, self._options.seed, i) for i in range(self._options.selection))
        return [GAPS[i % len(GAPS)].apply(scenario_of(source, number)) for i, number in enumerate(numbers)]

    def _success(self, bundle: Bundle, scenarios: list[Scenario]) -> float:
        # Without its corrections: these are of the loop's robots, and other seeds mean other robots of the same names.
        actor = bundle.actor()
        return sum(run_episode(self._env, actor, s).success for s in scenarios) / len(scenarios)

    def measure(self, bundle: Bundle) -> Reference:
        """Final success, on scenarios that nothing else has used."""
        robots = tuple(f"robot_{i + 1}" for i in range(4))
        seeds, each = self._options.report_seeds, self._options.episodes // len(self._options.report_seeds)

        def rate(shift: str | None) -> float:
            scenarios = [s for n in seeds for s in evaluation_scenarios(self._options.task, shift, robots, n, each)]
            return self._success(bundle, scenarios)

        return Reference(
            task=self._options.task,
            shift=self._shift,
            success=rate(self._shift),
            known_success=rate(None),
            episodes=each * len(seeds),
            rows=self._options.rows,
            sha256=bundle.manifest.sha256,
        )


def make(options: argparse.Namespace, shift: str) -> Reference:
    """Train and measure one reference."""
    fleet = FloopConfig(task=options.task, seed=options.seed)
    config = LoopConfig(fleet=fleet, shift=shift, shift_at_s=1, seconds=options.loop_seconds, until_improved=False)
    with tempfile.TemporaryDirectory(prefix="floop-reference-") as folder, Loop(config, Path(folder)) as loop:
        training = ReferenceTraining(options, shift, loop)
        bundle = training.run()
        options.out.mkdir(parents=True, exist_ok=True)
        bundle.save(options.out / f"{shift}.floop")
        return training.measure(bundle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shifts", nargs="*", default=["new-object", "small"])
    parser.add_argument("--task", default="floop/Pick-v0")
    parser.add_argument("--seed", type=int, default=90)
    parser.add_argument("--loop-seconds", type=int, default=40, help="virtual seconds of a fleet, first")
    parser.add_argument("--rows", type=int, default=120_000, help="rows after that")
    parser.add_argument("--selection", type=int, default=120, help="scenarios that select a candidate")
    parser.add_argument("--episodes", type=int, default=500, help="scenarios of the final measurement")
    parser.add_argument("--report-seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, default=Path("runs/references"))
    parser.add_argument("--smoke", action="store_true", help="a minute's part of it, which writes no figures")
    options = parser.parse_args()
    if options.smoke:
        options.shifts, options.loop_seconds, options.rows = ["small"], 2, 200
        options.selection, options.episodes = 2, 5
        options.out = Path(tempfile.mkdtemp(prefix="floop-references-"))
    torch.set_num_threads(1)
    for shift in options.shifts:
        began = time.process_time()
        found = make(options, shift)
        print(f"{msgspec.json.encode(found).decode()}  {time.process_time() - began:.0f} CPU s", flush=True)
        if options.smoke:
            continue
        others = [r for r in read_references() if (r.task, r.shift) != (found.task, found.shift)]
        data = msgspec.json.format(msgspec.json.encode(sorted([*others, found], key=lambda r: (r.task, r.shift))))
        write_atomic(references_file(), data + b"\n")


if __name__ == "__main__":
    main()
