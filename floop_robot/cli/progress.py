"""Progress on stderr: a moving bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from floop_robot.train.train_progress import TrainProgress

LINE_EVERY_S = 5.0


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


@contextmanager
def training_progress() -> Iterator[Callable[[TrainProgress], None]]:
    """Shows `TrainProgress`."""
    if sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task("starting", total=None)
            yield lambda p: bar.update(task, description=_line(p), completed=p.transitions, total=p.total_timesteps)
        return
    due_s = 0.0

    def show(p: TrainProgress) -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            due_s = time.monotonic() + LINE_EVERY_S
            print(_line(p), file=sys.stderr, flush=True)

    yield show


@contextmanager
def episode_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows episodes done out of all."""
    if not sys.stderr.isatty():
        due_s = time.monotonic() + LINE_EVERY_S

        def show(done: int, total: int) -> None:
            nonlocal due_s
            if time.monotonic() >= due_s:
                due_s = time.monotonic() + LINE_EVERY_S
                print(f"{what}: {done} of {total} episodes", file=sys.stderr, flush=True)

        yield show
        return
    with _bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"


def _line(p: TrainProgress) -> str:
    text = f"{p.elapsed_s:6.1f} s  {p.phase:<13} {p.transitions} of {p.total_timesteps} steps, "
    text += f"{p.gradient_steps} gradient steps"
    if p.phase == "learning" and p.gradient_steps and p.eta_s == p.eta_s:  # not NaN; acting alone is faster
        text += f", ETA {_duration(p.eta_s)}"
    if p.recent_return == p.recent_return:
        text += f", recent return {p.recent_return:.4g}"
    if p.recent_success == p.recent_success:  # not NaN
        text += f", recent success {p.recent_success:.0%}"
    if p.selection_success == p.selection_success:
        text += f", selection {p.selection_success:.0%}"
        if p.selection_time_s == p.selection_time_s:  # NaN: no episode succeeded
            text += f" in {p.selection_time_s:.2f} s"
    return text
