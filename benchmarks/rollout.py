"""Roll-out and live watch, measured. Run from the checkout: `python benchmarks/rollout.py`.

* gate passed → every one of 4 robots (threads with a 200 Hz control loop) acting, over real sockets on loopback
* one action, one bundle verified
* the live watch: how often an equally good version is rolled back, and how soon a worse one is found
* episodes until live success is confirmed (`--confirmation` shows these alone)
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from floop_robot.bundle import Bundle, verify
from floop_robot.deploy.deployment_monitor import DeploymentMonitor, MonitorDecision, Tally
from floop_robot.spec.config import DeployConfig
from floop_robot.stats.sequential_tests import is_shown_above
from tests.support.in_process_fleet import Episodes, ManagerThread, Robot, verdict
from tests.support.sample_bundles import IDS, TASK, architecture, make_bundle, random_observations
from tests.support.waiting import wait_for

LONGEST_S = 180.0
EPISODES_PER_S = 2.5
"""Shifted production episodes of four robots."""


def percentiles(values: list[float], unit: float, name: str) -> str:
    p50, p99 = np.percentile(values, (50, 99)) / unit
    return f"p50 {p50:.1f} {name}, p99 {p99:.1f} {name} ({len(values)} samples)"


def broadcast(hidden: tuple[int, ...], versions: int) -> None:
    config = DeployConfig(heartbeat_s=0.5, watch_s=1e-9)  # the next follows at once
    with tempfile.TemporaryDirectory() as name:
        manager = ManagerThread(Path(name), config)
        robots = [Robot(Path(name), f"robot_{i}", manager.announcements, manager.rpc) for i in range(4)]
        latencies: list[float] = []
        size = 0
        with manager.client() as client:
            wait_for(lambda: all(r.policy_buffer.acting == 1 for r in robots))
            for number in range(1, versions + 1):
                bundle = make_bundle(number, arch=architecture(hidden=hidden))
                size = len(bundle.to_bytes())
                judged = verdict(bundle, incumbent=number, seed=number)
                start = time.monotonic()
                version = client.submit(bundle, judged).version
                wait_for(lambda v=version: all(r.policy_buffer.first_step_s(v) for r in robots))
                latencies.append(max(r.policy_buffer.first_step_s(version) or 0.0 for r in robots) - start)
        for robot in robots:
            robot.stop()
        manager.stop()
    print(f"gate passed → 4 robots acting, {size / 1000:.0f} KB: {percentiles(latencies, 1e-3, 'ms')}")


def timed(act: Callable[[], object], calls: int) -> list[float]:
    took = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        act()
        took.append(float(time.perf_counter_ns() - start))
    return took


def acting(calls: int) -> None:
    for hidden in ((64, 64), (256, 256)):
        bundle = make_bundle(arch=architecture(hidden=hidden))
        actor, observation, rng = bundle.actor(), random_observations(1)[0], np.random.default_rng(0)
        print(f"mean action {hidden}: {percentiles(timed(partial(actor.mean, observation), calls), 1e3, 'us')}")
        sampled = timed(partial(actor.sample, observation, rng), calls)
        print(f"sampled action {hidden}: {percentiles(sampled, 1e3, 'us')}")
        blob = bundle.to_bytes()
        start_s = time.process_time()
        for _ in range(100):
            verify(Bundle.from_bytes(blob), TASK, IDS)
        print(f"decode and verify {len(blob) / 1000:.0f} KB: {(time.process_time() - start_s) * 10:.2f} ms of CPU")


def live_watch(runs: int, episodes: int) -> None:
    rng, make = np.random.default_rng(5), Episodes().make
    for before, after in ((0.8, 0.8), (0.97, 0.97), (0.3, 0.3), (0.8, 0.4), (0.97, 0.6)):
        found = []
        for _ in range(runs):
            watch = DeploymentMonitor(DeployConfig(), 2, {"box": Tally(int(rng.binomial(40, before)), 40)})
            for number in range(1, episodes + 1):
                if watch.observe(make(2, rng.random() < after)) is MonitorDecision.ROLL_BACK:
                    found.append(number)
                    break
        median = f"after {np.median(found):.0f} episodes (median)" if found else ""
        print(f"live watch {before:.2f} → {after:.2f}: rolled back {len(found) / runs:.1%} of {runs} {median}")


def confirmation(runs: int, episodes: int) -> None:
    """Median and 90 % of the episodes until a bound is shown; "–" where fewer runs show it within `episodes`."""
    alpha, bars = DeployConfig().alpha, (0.6, 0.7, 0.8, 0.85)
    shown = cache(partial(is_shown_above, alpha=alpha))
    print(f"| true success | {' | '.join(f'{bar:.0%}' for bar in bars)} |\n|---|{'---|' * len(bars)}")
    for rate in (0.8, 0.9, 0.95, 0.97):
        runs_of = np.cumsum(np.random.default_rng(7).random((runs, episodes)) < rate, axis=1)
        cells = []
        for bar in bars:
            first = [next((n for n, k in enumerate(run, 1) if shown(int(k), n, bar)), np.inf) for run in runs_of]
            found = [np.quantile(first, share, method="higher") for share in (0.5, 0.9)]
            cells.append(", ".join(f"{n:.0f}" if np.isfinite(n) else "–" for n in found))
        print(f"| {rate:.0%} | {' | '.join(cells)} |")


class Candidates(NamedTuple):
    """When a first version acts, s from the first failure, its success, and what the gate lets through after it."""

    first_s: float
    success: float
    gaps_s: list[float]
    """From one publication to the gate's next acceptance."""
    failures_left: list[float]
    """Share of the failures that each accepted candidate leaves."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Candidates:
        """As in runs of the demo: the first acts after 9 to 20 s, the next is accepted every 16 s on average."""
        return cls(
            rng.uniform(9.0, 20.0),
            rng.uniform(0.70, 0.97),
            (4.0 + rng.exponential(12.0, 60)).tolist(),
            rng.uniform(0.3, 0.8, 60).tolist(),
        )


def shown_after(config: DeployConfig, given: Candidates, rng: np.random.Generator) -> tuple[float, list[float]]:
    """Seconds until one version's episodes showed 80 %, and how long each accepted candidate waited."""
    make, now_s, success, waits, number = Episodes().make, given.first_s, given.success, [], 2
    while now_s < LONGEST_S:
        watch = DeploymentMonitor(config, number, {"box": Tally(2, 40)}, {"box": ()})
        published_s, successes, episodes = now_s, 0, 0
        accepted_s = now_s + given.gaps_s[number - 2]
        while now_s < LONGEST_S:
            now_s += rng.exponential(1.0 / EPISODES_PER_S)
            is_success = rng.random() < success
            episodes, successes = episodes + 1, successes + is_success
            watch.observe(make(number, is_success))
            if is_shown_above(successes, episodes, 0.8, config.alpha):
                return now_s, waits
            is_due = watch.settled or watch.undecided or now_s - published_s >= config.watch_s
            if now_s >= accepted_s and is_due:
                waits.append(now_s - accepted_s)
                success = 1.0 - (1.0 - success) * given.failures_left[number - 2]
                break
        number += 1
    return np.inf, waits


def replacements(runs: int) -> None:
    """When one version shows 80 %, while better ones come."""
    print(
        "| `confirm_success` | `watch_s` | shown after: median | 90 % | over 60 s | over 90 s | waits: mean | longest |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for confirm, watch_s in ((0.6, 20.0), (0.8, 20.0), (0.8, 40.0), (0.9, 20.0)):
        config = DeployConfig(confirm_success=confirm, watch_s=watch_s)
        found = []
        for seed in range(runs):
            rng = np.random.default_rng(seed)
            found.append(shown_after(config, Candidates.draw(rng), rng))
        shown, waits = np.array([s for s, _ in found]), [w for _, each in found for w in each]
        cells = [f"{np.quantile(shown, share, method='higher'):.0f} s" for share in (0.5, 0.9)]
        cells += [f"{np.mean(shown > bar):.0%}" for bar in (60.0, 90.0)]
        cells += [f"{np.mean(waits or [0.0]):.1f} s", f"{max(waits, default=0.0):.0f} s"]
        print(f"| {confirm:.0%} | {watch_s:.0f} s | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    parser.add_argument("--confirmation", action="store_true", help="only how long confirmations take")
    parser.add_argument("--replacements", action="store_true", help="only versions that better ones replace")
    options = parser.parse_args()
    smoke = options.smoke
    if options.replacements or smoke:
        replacements(2 if smoke else 400)
        if options.replacements:
            return
    confirmation(*((2, 20) if smoke else (1000, 400)))
    if options.confirmation:
        return
    acting(100 if smoke else 20_000)
    for hidden in ((64, 64), (256, 256)):
        broadcast(hidden, 2 if smoke else 60)
    live_watch(*((2, 20) if smoke else (1000, 200)))


if __name__ == "__main__":
    main()
