"""The demo's output: a live screen on a terminal, one line every few seconds elsewhere, and the summary at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live as Screen
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from floop_robot.demo.loop_waits import waits_line
from floop_robot.demo.report import DemoReport, Rate
from floop_robot.demo.run import DemoProgress
from floop_robot.deploy.tti import IMPROVED_SUCCESS
from floop_robot.spec.config import DeployConfig

LINE_EVERY_S = 5.0
LINE_WIDTH = 120
"""Longest line, characters."""
STAGE_WORDS = {
    "lesson": "noticed and practised",
    "improve": "learned",
    "gate": "judged by the gate",
    "publish": "published",
    "apply": "taken over by all robots",
    "confirm": "confirmed by their success",
}
"""Stages of `deploy.tti.STAGES`, as the table tells them."""


class LiveScreen:
    """Redraws a terminal in place; use as a context manager."""

    def __init__(self, longest_s: float, console: Console | None = None) -> None:
        """`longest_s`: longest live part; `console`: where to draw, stderr by default."""
        self._longest_s = longest_s
        self._screen = Screen(console=console or Console(stderr=True), refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveScreen:
        self._screen.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.__exit__(None, None, None)

    def show(self, progress: DemoProgress) -> None:
        """Draw how far the demo is."""
        parts: list[RenderableType] = [_headline(progress, self._longest_s)]
        if progress.snapshot is not None and not progress.total:
            parts += [_robots(progress), Columns([_learner(progress), _gate(progress)], expand=True)]
            parts += [Text(waits_line(progress.waits))] if progress.waits else []
        self._screen.update(Panel(Group(*parts), title="floop demo", border_style="cyan"))


class LineScreen:
    """Prints a line to stderr every `LINE_EVERY_S`."""

    def __init__(self) -> None:
        self._due_s = 0.0
        self._phase = ""

    def __enter__(self) -> LineScreen:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, progress: DemoProgress) -> None:
        """Print how far the demo is, when the next line is due or the phase has changed."""
        if progress.elapsed_s < self._due_s and progress.phase == self._phase:
            return
        self._due_s, self._phase = progress.elapsed_s + LINE_EVERY_S, progress.phase
        print(_line(progress), file=sys.stderr, flush=True)


def _line(p: DemoProgress) -> str:
    text = shorten(f"{p.elapsed_s:6.1f} s  {_phase(p)}", LINE_WIDTH)
    if p.total:
        return f"{text}: {p.done} of up to {p.total} scenarios"
    for part in _figures(p):
        if len(text) + len(part) + 2 <= LINE_WIDTH:
            text += f"; {part}"
    return text


def _phase(p: DemoProgress) -> str:
    """The phase, and how long it still lasts at most."""
    return p.phase if p.left_s is None else f"{p.phase}, {max(p.left_s, 0.0):.0f} s at most"


def _figures(p: DemoProgress) -> Iterator[str]:
    """What a line tells beside the phase, as far as there is room; the most important first."""
    if p.live is not None and p.live.shifted:
        version, rate = list(p.live.shifted.items())[-1]
        yield f"v{version} succeeds at {_share(rate)} changed tasks"
    elif p.live is not None and p.live.before.episodes:
        yield f"{_share(p.live.before)} succeeded"
    fleet = p.snapshot.fleet if p.snapshot is not None else None
    gate = p.snapshot.gate if p.snapshot is not None else None
    trial = ", 1 on trial" if gate is not None and gate.busy else ""
    if fleet is not None and (judged := fleet.accepted + fleet.rejected + fleet.inconclusive):
        yield (
            f"{fleet.accepted} of {judged} accepted{trial}"
            if trial
            else f"{fleet.accepted} of {judged} new policies accepted"
        )
    elif trial:
        yield "a candidate is on trial"


def shorten(text: str, width: int) -> str:
    """Cut what is longer than `width`, and mark that."""
    return text if len(text) <= width else f"{text[: width - 2]} …"


def _headline(p: DemoProgress, longest_s: float) -> RenderableType:
    since = "" if p.since_shift_s is None else f"   the world shifted {p.since_shift_s:.0f} s ago"
    title = Text(f"{_phase(p)}   {p.elapsed_s:.0f} s{since}", style="bold yellow" if since else "bold green")
    if p.total:
        title = Text(f"measuring shipped and final policy: {p.done} of up to {p.total} scenarios", style="bold cyan")
        return Group(title, ProgressBar(total=p.total, completed=p.done))
    return Group(title, ProgressBar(total=longest_s, completed=min(p.elapsed_s, longest_s)))


def _robots(p: DemoProgress) -> Table:
    table = Table(expand=True, box=None)
    for column in (
        "robot", "policy", "last episodes", "success", "step, 99 % within", "servo late, 99 % within", "missed ticks",
        "unsent records",
    ):  # fmt: skip
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
        f"{learner.gradient_steps} gradient steps with those of its checkpoint, {learner.steps_per_s:.0f}/s\n"
        f"rows: {learner.prior_rows} of known tasks, {learner.new_rows} of new ones\n"
        f"a robot's step is used within {learner.latency_p99_s * 1e3:.0f} ms (99 %)\n"
        f"{learner.candidates} candidates, live weights {learner.weights_version}"
    )
    return Panel(text, title="learner")


def _gate(p: DemoProgress) -> Panel:
    fleet, gate = (p.snapshot.fleet, p.snapshot.gate) if p.snapshot else (None, None)
    if fleet is None:
        return Panel("starting …", title="gate and deployment")
    text = f"in production v{fleet.production}; candidates: {fleet.accepted} accepted, {fleet.rejected} rejected"
    text += f", {fleet.inconclusive} inconclusive\n"
    if gate is not None and gate.busy:
        text += f"one is on trial; the gate has run {gate.episodes} episodes so far\n"
    if gate is not None and gate.verdict_s:
        text += f"last verdict: {gate.last_decision} in {gate.verdict_s[-1]:.1f} s: {gate.last_reason}\n"
    if fleet.watch is not None:
        text += f"monitoring v{fleet.watch.version}: {fleet.watch.decision}, {fleet.watch.reason}"
    if fleet.canary is not None:
        text += f"\n{fleet.canary_robot} alone tries v{fleet.canary.version}"
    return Panel(text, title="gate and deployment")


def _share(rate: Rate) -> str:
    return f"{rate.successes}/{rate.episodes}" if rate.episodes else "–"


def summary(report: DemoReport) -> Table:
    """The report as a table."""
    table = Table(title="recovered" if report.recovered else f"not recovered: {report.reason}", show_header=False)
    table.title_style = "bold green" if report.recovered else "bold red"
    for name, value in _rows(report):
        table.add_row(name, value)
    return table


def _rows(r: DemoReport) -> list[tuple[str, str]]:
    best = "" if r.best_known is None else f" (best known policy for these tasks: {r.best_known:.1%})"
    stages = ", ".join(f"{STAGE_WORDS[name]} {value:.1f}" for name, value in r.tti_stages_s.items())
    shown, success = (
        "improvement confirmed",
        f"robots' success with it (confirmed once {r.confirm_success:.0%} are sure)",
    )
    if r.confirm_success <= IMPROVED_SUCCESS:  # no version was confirmed
        stages = stages.replace(STAGE_WORDS["confirm"], "shown by their success")
        shown = f"success with it, at least {IMPROVED_SUCCESS:.0%} shown"
        success = f"robots' success with it (not confirmed: {DeployConfig().confirm_success:.0%})"
    return [
        ("task; algorithm; change of the world", f"{r.task}; {r.algo}; {r.shift_name}"),
        ("success before (known tasks, shipped policy)", f"{r.success_before:.1%}"),
        (f"success dip ({r.shift_name}, shipped policy)", f"{r.success_dip:.1%}"),
        (f"success after ({r.shift_name}, final policy)", f"{r.success_after:.1%}{best}"),
        (
            "success on known tasks, final policy",
            f"{r.old_success_after:.1%} (solved by the shipped policy alone: {r.known_lost}, by the final one alone: "
            f"{r.known_gained})",
        ),
        ("fresh scenarios for each of these figures", f"{r.evaluation_episodes}"),
        ("first failure → improved policy on all robots", _seconds(r.tti_apply_s)),
        (f"first failure → {shown} (TTI)", f"{_seconds(r.tti_s)} ({stages})" if stages else "–"),
        (success, _fix(r)),
        *(
            (
                f"first failure → one version's success is surely {float(bound):.0%} or more",
                _seconds(r.shown_success_s.get(bound), "not shown"),
            )
            for bound in ("0.8", "0.9")
        ),
        ("until one version showed 60 %", waits_line(r.waits) or "–"),
        (
            "candidates of the learner, judged by the gate",
            f"{r.gate_accepted} accepted, {r.gate_rejected} rejected, {r.gate_inconclusive} inconclusive",
        ),
        ("a robot's step → the learner uses it (99 % within)", _seconds(r.loop_latency_p99_s)),
        ("a new version → the last robot acts on it (99 % within)", _seconds(r.apply_latency_p99_s)),
        (
            "steps of the arms' servo loops",
            f"{r.ticks}, {r.missed_ticks} missed (a bare timer on this busy machine: {r.bare_timer_missed_ticks})",
        ),
        ("simulated time / real time of the robots", f"{r.real_time_factor:.3f}"),
        ("records of the robots", f"{r.rows_acked} stored, {r.rows_lost} lost, {r.rows_doubled} doubled"),
        ("the whole run took", _seconds(r.wall_s)),
    ]


def _fix(r: DemoReport) -> str:
    bound = r.fix_lower_bound
    return "–" if bound is None else f"{_share(r.fix_episodes)} episodes: at least {bound:.0%}"


def _seconds(value: float | None, without: str = "–") -> str:
    return without if value is None else f"{value:.1f} s" if value >= 10 else f"{value:.2f} s"


def last_line(report: DemoReport, status: int) -> str:
    """What came of the run, in one sentence; `status`: the exit status."""
    if not report.recovered:
        return f"Not recovered: {report.reason}. Exit status {status}."
    took = "" if report.tti_apply_s is None else f", on all robots {report.tti_apply_s:.0f} s after the first failure"
    shift = f"{report.success_dip:.0%} → {report.success_after:.1%} success on the changed tasks ({report.shift_name})"
    return f"Recovered: {shift}{took}. Exit status {status}."
