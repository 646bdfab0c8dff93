"""Pictures of a run: live success over time, and both policies on the same shifted task."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draws without a screen
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from floop_robot.bundle import Bundle
from floop_robot.demo.clip import record, save_clip, side_by_side
from floop_robot.demo.live_success import ObservedShift
from floop_robot.demo.report import DemoReport
from floop_robot.deploy.registry import History, LiveEpisode
from floop_robot.sim.sim_world import SimWorld, evaluation_scenarios
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.records import OutcomeCode
from floop_robot.spec.tasks import get_task

WINDOW = 16
"""The moving success rate covers this many episodes of the whole fleet."""


def plot_run(history: History, report: DemoReport, shift: ObservedShift, path: Path) -> None:
    """Draw the fleet's moving success rate and each robot's episodes, with the shift at second 0."""
    production = [e for e in history.episodes if e.production]
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(10, 6), sharex=True, height_ratios=(3, 2), layout="constrained"
    )
    _success(above, production, shift)
    _episodes(below, production, shift)
    first_failure = _first_failure(production, shift)
    above.axvline(0.0, color="tab:red", linestyle="--", label="the world shifts")
    below.axvline(0.0, color="tab:red", linestyle="--")
    for version in history.versions:
        if version.published_ns > shift.at_ns:
            at_s = (version.published_ns - shift.at_ns) * 1e-9
            for axes in (above, below):
                axes.axvline(at_s, color="tab:green", alpha=0.5, linewidth=1)
            above.text(at_s, 1.08, f"v{version.version}", color="tab:green", ha="center", va="bottom")
    if report.tti_s is not None and first_failure is not None:
        label = f"time to improvement: {report.tti_s:.0f} s (on all robots after {report.tti_apply_s:.0f} s)"
        above.axvspan(first_failure, first_failure + report.tti_s, color="tab:orange", alpha=0.15, label=label)
    above.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False)
    dip, after, episodes = report.success_dip, report.success_after, report.evaluation_episodes
    ending = "recovered" if report.recovered else f"not recovered: {report.reason}"
    figures = f"success {dip:.0%} → {after:.0%} on {episodes} fresh scenarios"
    above.set_title(f"{report.task}, {report.shift_name}: {figures}\n{ending}", pad=20, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def clip_run(config: FloopConfig, world: SimWorld, shipped: Bundle, final: Bundle, path: Path) -> None:
    """Record the shipped and the final policy on one shifted scenario, side by side."""
    scenario = evaluation_scenarios(config.task, world.shift, world.shifted_robots(config.robot_names), config.seed, 1)[
        0
    ]
    frames = side_by_side(
        record(shipped.actor(), scenario, "shipped policy", config.robot.model).frames,
        record(final.actor(), scenario, "final policy", config.robot.model, final.manifest.calibration).frames,
    )
    save_clip(frames, path, get_task(config.task).spec.policy_rate_hz)


def _success(axes: Axes, episodes: list[LiveEpisode], shift: ObservedShift) -> None:
    times = [(e.observed_ns - shift.at_ns) * 1e-9 for e in episodes]
    good = [e.outcome is OutcomeCode.SUCCESS for e in episodes]
    rates = [sum(good[max(0, i - WINDOW + 1) : i + 1]) / min(i + 1, WINDOW) for i in range(len(good))]
    axes.step(times, rates, where="post", color="black", label=f"last {WINDOW} episodes of the fleet")
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel("live success")


def _episodes(axes: Axes, episodes: list[LiveEpisode], shift: ObservedShift) -> None:
    names = sorted({e.robot for e in episodes})
    for row, name in enumerate(names):
        for success, mark, color in ((True, "o", "tab:green"), (False, "x", "tab:red")):
            own = [e for e in episodes if e.robot == name and (e.outcome is OutcomeCode.SUCCESS) == success]
            times = [(e.observed_ns - shift.at_ns) * 1e-9 for e in own]
            axes.plot(times, [row] * len(own), mark, color=color, markersize=4)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.5, max(0.5, len(names) - 0.5))
    axes.set_xlabel("seconds since the world shifted; ● success, × failure; green line: a new policy version")


def _first_failure(episodes: list[LiveEpisode], shift: ObservedShift) -> float | None:
    for episode in episodes:
        if shift.includes(episode) and episode.outcome is not OutcomeCode.SUCCESS:
            return (episode.observed_ns - shift.at_ns) * 1e-9
    return None
