"""The screen: what the fleet is doing, live; or one line every few seconds where there is no terminal."""

from __future__ import annotations

import sys

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from floop_robot.demo.report import DemoReport, Rate
from floop_robot.demo.run import DemoProgress

LINE_EVERY_S = 5.0


class LiveScreen:
    """Redraws a terminal in place; use as a context manager."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._screen = Screen(console=Console(stderr=True), refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveScreen:
        self._screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.__exit__(None, None, None)

    def show(self, progress: DemoProgress) -> None:
        """Draw where the experiment stands."""
        parts: list[RenderableType] = [_headline(progress, self._longest_s)]
        if progress.snapshot is not None and not progress.total:
            parts += [_robots(progress), Columns([_learner(progress), _gate(progress)], expand=True)]
        self._screen.update(Panel(Group(*parts), title="floop demo", border_style="cyan"))


class LineScreen:
    """One line to stderr now and then."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._phase = ""

    def __enter__(self) -> LineScreen:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, progress: DemoProgress) -> None:
        """Print where the experiment stands, when it is time to or the phase changed."""
        if progress.elapsed_s < self._due_s and progress.phase == self._phase and progress.done < progress.total:
            return
        if progress.elapsed_s < self._due_s and progress.phase == self._phase:
            return
        self._due_s, self._phase = progress.elapsed_s + LINE_EVERY_S, progress.phase
        print(_line(progress), file=sys.stderr, flush=True)


def _line(p: DemoProgress) -> str:
    text = f"{p.elapsed_s:6.1f} s  {p.phase}"
    if p.total:
        return f"{text}: {p.done} of {p.total} episodes"
    if p.live is not None:
        text += f"; succeeded: known tasks {_share(p.live.before)}"
        text += "".join(f", v{v} {_share(rate)}" for v, rate in p.live.shifted.items())
    if p.snapshot is not None and p.snapshot.fleet is not None:
        fleet = p.snapshot.fleet
        text += f"; production v{fleet.production}; gate: {fleet.accepted} accepted, {fleet.rejected} rejected"
        text += f", {fleet.inconclusive} unclear"
    if p.snapshot is not None and p.snapshot.learner is not None:
        text += f"; learner: {p.snapshot.learner.gradient_steps} steps"
    return text


def _headline(p: DemoProgress, longest_s: float) -> RenderableType:
    since = "" if p.since_shift_s is None else f"   world shifted {p.since_shift_s:.0f} s ago"
    title = Text(f"{p.phase}   {p.elapsed_s:.0f} s{since}", style="bold yellow" if since else "bold green")
    if p.total:
        title = Text(f"measuring both bundles: {p.done} of {p.total} episodes", style="bold cyan")
        return Group(title, ProgressBar(total=p.total, completed=p.done))
    return Group(title, ProgressBar(total=longest_s, completed=min(p.elapsed_s, longest_s)))


def _robots(p: DemoProgress) -> Table:
    table = Table(expand=True, box=None)
    for column in ("robot", "version", "last episodes", "success", "control p99", "servo late p99", "missed", "spool"):
        table.add_column(column)
    assert p.snapshot is not None
    for robot in p.snapshot.robots:
        live = p.live.robots.get(robot.name) if p.live else None
        policy = robot.policy[-1] if robot.policy else None
        safety = robot.safety[-1] if robot.safety else None
        table.add_row(
            robot.name,
            f"v{robot.version}" if robot.version else "–",
            live.last if live else "",
            _share(live.recent) if live else "–",
            f"{policy.policy.latency.p99_s * 1e3:.0f} ms" if policy else "–",
            f"{safety.rate.lateness.p99_s * 1e3:.1f} ms" if safety else "–",
            f"{sum(s.rate.missed_ticks for s in robot.safety)}",
            f"{policy.stream.depth}" if policy else "–",
        )
    return table


def _learner(p: DemoProgress) -> Panel:
    learner = p.snapshot.learner if p.snapshot else None
    if learner is None:
        return Panel("starting …", title="learner")
    text = (
        f"{learner.gradient_steps} gradient steps, {learner.steps_per_s:.0f}/s\n"
        f"rows: {learner.prior_rows} old, {learner.fresh_rows} new\n"
        f"robot → gradient p99 {learner.latency_p99_s * 1e3:.0f} ms\n"
        f"candidates {learner.candidates}, live weights {learner.weights_version}"
    )
    return Panel(text, title="learner")


def _gate(p: DemoProgress) -> Panel:
    fleet, gate = (p.snapshot.fleet, p.snapshot.gate) if p.snapshot else (None, None)
    if fleet is None:
        return Panel("starting …", title="gate and roll-out")
    text = f"production v{fleet.production}   accepted {fleet.accepted}, rejected {fleet.rejected}"
    text += f", inconclusive {fleet.inconclusive}\n"
    if gate is not None and gate.verdict_s:
        text += f"last: {gate.last_decision} in {gate.verdict_s[-1]:.1f} s: {gate.last_reason}\n"
    if fleet.watch is not None:
        text += f"watching v{fleet.watch.version}: {fleet.watch.decision}, {fleet.watch.reason}"
    return Panel(text, title="gate and roll-out")


def _share(rate: Rate) -> str:
    return f"{rate.successes}/{rate.episodes}" if rate.episodes else "–"


def summary(report: DemoReport) -> Table:
    """The report as a person reads it."""
    table = Table(title="recovered" if report.recovered else f"not recovered: {report.reason}", show_header=False)
    table.title_style = "bold green" if report.recovered else "bold red"
    for name, value in _rows(report):
        table.add_row(name, value)
    return table


def _rows(r: DemoReport) -> list[tuple[str, str]]:
    stages = ", ".join(f"{name} {value:.1f}" for name, value in r.tti_stages_s.items())
    return [
        ("success on known tasks, shipped → final", f"{r.success_before:.1%} → {r.old_success_after:.1%}"),
        (f"success on {r.shift}, shipped → final", f"{r.success_dip:.1%} → {r.success_after:.1%}"),
        ("the same in the gate's own worlds", f"{r.twin_success_before:.1%} (old), {r.twin_success_after:.1%} (new)"),
        ("TTI: first failure → last robot acts on the fix", _seconds(r.tti_apply_s)),
        ("TTI: … → live success confirmed", f"{_seconds(r.tti_s)} ({stages})" if stages else "–"),
        (f"live success on the fix (confirmed at {r.confirm_success:g})",
         f"{_share(r.fix_episodes)}, at least {(r.fix_lower_bound or 0.0):.2f}"),
        ("gate", f"{r.gate_accepted} accepted, {r.gate_rejected} rejected, {r.gate_inconclusive} inconclusive"),
        ("robot → gradient step, p99", _seconds(r.loop_latency_p99_s)),
        ("published → last robot acting, p99", _seconds(r.apply_latency_p99_s)),
        ("servo ticks, missed (bare timer)", f"{r.ticks}, {r.missed_ticks} ({r.bare_timer_missed_ticks})"),
        ("real-time factor", f"{r.real_time_factor:.3f}"),
        ("rows acknowledged / lost / doubled", f"{r.rows_acked} / {r.rows_lost} / {r.rows_doubled}"),
        ("wall time", _seconds(r.wall_s)),
    ]


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
