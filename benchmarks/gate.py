"""The gate, measured: how long a verdict takes, and how often a candidate that is no better is accepted.

    python benchmarks/gate.py                                     # verdict times, paired episodes a second
    python benchmarks/gate.py --repeats 0                         # paired episodes a second only
    python benchmarks/gate.py --nulls 100                         # false accepts; minutes
    python benchmarks/gate.py --incumbent old.floop --good new.floop --focus basket

Verdict times: workers warm, the incumbent's episodes run ahead as in a gate that waits for its next candidate; time
from handing the candidate over to its verdict, report written. "Good" is --good, else the incumbent itself against a
copy of it with noise on its weights that fails about half the time; "bad" is a policy with random weights; "forgetful"
is the noisy copy against the incumbent.

Paired episodes a second: equal candidates on known tasks, one trial after the other without rest, nothing run ahead.
A pair is one episode of the candidate and one of the incumbent on the same scenario.

False accepts: null candidates are the incumbent with noise of 1 % on its weights, so that every episode runs another
course and none is better but by chance; their pooled success is printed beside the incumbent's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.gate.gate import Gate, GateResult
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.spec.config import FloopConfig, GateConfig
from floop_robot.spec.records import ActMode, EpisodeEnd, ObjectReport, OutcomeCode
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Decision
from floop_robot.train.validate import evaluate_with


def altered(bundle: Bundle, noise: float, seed: int) -> Bundle:
    """The policy with normal noise on every tensor, `noise` times the tensor's own spread."""
    rng = np.random.default_rng(seed)
    tensors = {
        name: (value + noise * value.std() * rng.standard_normal(value.shape)).astype(np.float32)
        for name, value in bundle.arrays().items()
    }
    manifest = bundle.manifest
    return Bundle.build(
        task=get_task(manifest.task).spec,
        ids=manifest.ids,
        algo=manifest.algo,
        architecture=manifest.architecture,
        tensors=tensors,
        observations=np.array([c.observation for c in manifest.checks]),
    )


def half_as_good(bundle: Bundle, pool: ProcessPool) -> Bundle:
    """The policy with as much noise as makes it fail about half the time."""
    scenarios = scenarios_of(TrainingScenarios(bundle.manifest.task), Purpose.SELECTION, 0, 40)
    for noise in np.arange(0.05, 1.0, 0.05):  # success may fall from nearly all to nearly none within a tenth
        for seed in range(6):
            worse = altered(bundle, float(noise), seed)
            if 0.3 <= evaluate_with(pool, worse, scenarios).success <= 0.6:
                return worse
    raise SystemExit("no amount of noise makes this policy fail half the time; give --good")


def reports(classes: tuple[str, ...], success: float) -> list[EpisodeEnd]:
    """What robots would report of failing classes."""
    ends = []
    for i in range(20 if classes else 0):
        scenario = scenarios_of(TrainingScenarios("floop/Pick-v0", classes), Purpose.ROBOT, 0, 1, i)[0]
        x, y = scenario.object_xy_m
        size = scenario.object.size_m
        report = ObjectReport(scenario.object.object_class, size, (x, y, 0.5 * size[2]), scenario.object_yaw_rad)
        ends.append(
            EpisodeEnd(
                seq=i,
                episode=i,
                stamp_ns=0,
                policy_version=1,
                act_mode=ActMode.MEAN,
                steps=1,
                duration_s=1.0,
                total_reward=0.0,
                outcome=OutcomeCode.SUCCESS if i % 10 < 10 * success else OutcomeCode.TIMEOUT,
                final_obs=np.zeros(1, np.float32),
                object=report,
            )
        )
    return ends


def new_gate(config: FloopConfig, pool: ProcessPool, incumbent: Bundle, failing: tuple[str, ...]) -> Gate:
    gate = Gate(config, pool)
    gate.set_incumbent(incumbent.with_version(version=1, epoch=1, parent=0, certificate=None))
    for end in reports(failing, 0.4):
        gate.failures.observe(end)
    return gate


def rest(gate: Gate) -> None:
    """Let the gate run the incumbent ahead until it has nothing to prepare."""
    idle_since = time.monotonic()
    while time.monotonic() - idle_since < 0.5:
        if gate.prepares:
            idle_since = time.monotonic()
        gate.step(0.0)
        time.sleep(0.002)


def judged(gate: Gate, candidate: Bundle) -> tuple[GateResult, float]:
    blob = candidate.to_bytes()
    start = time.monotonic()
    if not (offer := gate.offer(blob)).taken:
        raise SystemExit(offer.reason)
    while (result := gate.step(0.05)) is None:
        pass
    return result, time.monotonic() - start


def cpu_s(pool: ProcessPool) -> float:
    """CPU time that the workers have used: what a verdict costs, whatever else runs on the machine."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pool.worker_pids)


def pairs_per_second(pool: ProcessPool, incumbent: Bundle, workers: int, at_least: int) -> None:
    """Trials of equal candidates, back to back, until so many pairs were run."""
    with tempfile.TemporaryDirectory() as folder:
        config = FloopConfig(
            run_dir=folder, gate=GateConfig(workers=workers, cooldown_share=0.0, trials_while_healthy=True)
        )
        gate = new_gate(config, pool, incumbent, ())
        pairs, spent, own, began = 0, cpu_s(pool), time.process_time(), time.monotonic()
        while pairs < at_least:
            verdict = judged(gate, altered(incumbent, 0.01, pairs))[0].verdict
            pairs += sum(s.episodes for s in verdict.suites)
        wall_s = time.monotonic() - began
        spent, own = cpu_s(pool) - spent, time.process_time() - own
    print(
        f"{workers} workers: {pairs / wall_s:.1f} paired episodes a second on known tasks ({pairs} pairs in "
        f"{wall_s:.1f} s; {1e3 * spent / pairs:.0f} ms of CPU a pair in workers, {1e3 * own / pairs:.1f} in the gate; "
        f"{(spent + own) / wall_s:.2f} cores used)",
        flush=True,
    )


def verdict_times(args: argparse.Namespace, incumbent: Bundle) -> None:
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {args.repeats} verdicts each")
    if args.repeats:
        print("workers  candidate        verdicts                     pairs  median s   max s  worker CPU s")
    for workers in (1,) if args.smoke else (1, 2):
        pool = ProcessPool(workers=workers, task=incumbent.manifest.task, robot="panda")
        pool.wait_warm()
        pairs_per_second(pool, incumbent, workers, 3 if args.smoke else 200)
        if not args.repeats:
            pool.close()
            continue
        if args.smoke:
            weak = altered(incumbent, 1.0, 0)
        else:
            weak = half_as_good(incumbent, pool) if args.good is None else incumbent
        good = incumbent if args.good is None else Bundle.load(args.good)
        failing = tuple(args.focus) if args.good is not None else ("box", "cylinder")
        cases = [
            ("good", weak, failing, lambda _, good=good: good),
            ("bad", incumbent, failing, lambda seed: altered(incumbent, 5.0, seed)),
            ("bad, nothing failing", incumbent, (), lambda seed: altered(incumbent, 5.0, seed)),
            ("equal, nothing failing", incumbent, (), lambda seed: altered(incumbent, 0.01, seed)),
        ]
        for name, against, about, make in cases[1:3] if args.smoke else cases:
            times, pairs, cpu, decisions = [], [], [], dict.fromkeys(Decision, 0)
            for seed in range(args.repeats):
                with tempfile.TemporaryDirectory() as folder:  # a gate that judged a candidate rejects it unheard
                    config = FloopConfig(run_dir=folder, gate=GateConfig(workers=workers, trials_while_healthy=True))
                    gate = new_gate(config, pool, against, about)
                    rest(gate)
                    spent = cpu_s(pool)
                    result, wall_s = judged(gate, make(seed))
                times.append(wall_s)
                cpu.append(cpu_s(pool) - spent)
                pairs.append(sum(s.episodes for s in result.verdict.suites))
                decisions[result.verdict.decision] += 1
            verdicts = ", ".join(f"{count} {decision}" for decision, count in decisions.items() if count)
            print(
                f"{workers:7d}  {name:16s} {verdicts:28s} {statistics.mean(pairs):5.1f} "
                f"{statistics.median(times):9.2f} {max(times):7.2f} {statistics.median(cpu):13.2f}",
                flush=True,
            )
        pool.close()


def null_candidates(args: argparse.Namespace, incumbent: Bundle) -> None:
    pool = ProcessPool(workers=args.workers, task=incumbent.manifest.task, robot="panda", nice=args.nice)
    pool.wait_warm()
    for failing in ((), tuple(args.focus)):
        with tempfile.TemporaryDirectory() as folder:
            config = FloopConfig(run_dir=folder, gate=GateConfig(workers=args.workers, trials_while_healthy=True))
            gate = new_gate(config, pool, incumbent, failing)
            decisions = dict.fromkeys(Decision, 0)
            ours = theirs = episodes = 0
            for seed in range(args.nulls):
                verdict = judged(gate, altered(incumbent, 0.01, 1000 + seed))[0].verdict
                decisions[verdict.decision] += 1
                ours += sum(s.candidate_successes for s in verdict.suites)
                theirs += sum(s.incumbent_successes for s in verdict.suites)
                episodes += sum(s.episodes for s in verdict.suites)
        verdicts = ", ".join(f"{count} {decision}" for decision, count in decisions.items())
        print(
            f"{args.nulls} null candidates, failing tasks: {', '.join(failing) or 'none'}: {verdicts}; "
            f"success {ours / episodes:.3f} against {theirs / episodes:.3f} over {episodes} pairs",
            flush=True,
        )
    pool.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--incumbent", type=Path, help="bundle; left out: the shipped one")
    parser.add_argument("--good", type=Path, help="bundle that is clearly better on the classes of --focus")
    parser.add_argument("--focus", nargs="*", default=["basket"], help="object classes that fail")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--nulls", type=int, default=0, help="judge so many null candidates instead")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    args = parser.parse_args()
    if args.smoke:
        args.repeats, args.nulls = 1, 0
    incumbent = Bundle.load(args.incumbent or baseline("floop/Pick-v0"))
    (null_candidates if args.nulls else verdict_times)(args, incumbent)


if __name__ == "__main__":
    main()
