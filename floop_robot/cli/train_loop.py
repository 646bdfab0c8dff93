"""`floop train --loop`: the whole loop of a simulated fleet in one process and in virtual time."""

from __future__ import annotations

import sys
import time
from collections import deque
from pathlib import Path

import msgspec

from floop_robot.bundle import SUFFIX
from floop_robot.deploy.tti import NoImprovement
from floop_robot.loop import run_loop
from floop_robot.loop_config import LoopConfig, LoopProgress
from floop_robot.spec.config import FloopConfig, LearnerConfig
from floop_robot.train.run_folder import RunFolder

LATEST_S = 10
"""Virtual seconds at the end whose episodes make the reported success."""


class LoopSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What `floop train --loop --json` prints."""

    success: float | None
    """Of the robots' episodes in the last virtual seconds; None if there were none."""
    mean_return: None = None
    """Robots report no return; the key is there as in `floop train --json`."""
    tti_s: float | None
    """Virtual seconds from the first failure to confirmed live success; None without improvement."""
    no_improvement: str
    """Why there is no `tti_s`; empty if there is one."""
    seconds: int
    """Virtual seconds of the run."""
    transitions: int
    gradient_steps: int
    accepted: int
    rejected: int
    inconclusive: int
    wall_s: float
    bundle: str


def run_fleet_loop(task: str, algo: str, seed: int, shift: str, seconds: int, out: Path) -> LoopSummary:
    """Run the loop until it improved, or for `seconds`; leaves the policy in production in `out`."""
    fleet = FloopConfig(task=task, seed=seed, learner=LearnerConfig(algo=algo))
    started, latest = time.monotonic(), deque[tuple[int, int]](maxlen=LATEST_S)

    def on_progress(p: LoopProgress) -> None:
        latest.append((p.robot_successes, p.robot_episodes))
        failing = f", fails: {', '.join(p.failing)}" if p.failing else ""
        verdict = f", gate: {p.verdict.decision}" if p.verdict else ""
        line = f"{p.second:4d} s  v{p.version}  robots {p.robot_successes}/{p.robot_episodes}{failing}{verdict}"
        print(line, file=sys.stderr, flush=True)

    with RunFolder(out):
        result = run_loop(LoopConfig(fleet=fleet, shift=shift, seconds=seconds), on_progress)
        path = out / f"policy{SUFFIX}"
        result.bundle.save(path)
    successes, episodes = (sum(column) for column in zip(*latest, strict=True))
    no_improvement = result.tti.reason if isinstance(result.tti, NoImprovement) else ""
    return LoopSummary(
        success=successes / episodes if episodes else None,
        tti_s=None if isinstance(result.tti, NoImprovement) else result.tti.tti_s,
        no_improvement=no_improvement,
        seconds=result.seconds,
        transitions=result.learner.robot_rows + result.learner.explorer_rows,
        gradient_steps=result.learner.gradient_steps,
        accepted=result.accepted,
        rejected=result.rejected,
        inconclusive=result.inconclusive,
        wall_s=time.monotonic() - started,
        bundle=str(path),
    )
