"""`floop status --watch`: the state of a fleet, drawn again and again until Ctrl-C."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from floop_robot.cli.which_fleet import NoFleet, running_fleet
from floop_robot.deploy import FleetClient, FleetStatus, Refused, Unreachable

ANSWER_S = 2.0
"""How long one answer is waited for before the screen says that none comes."""


def watch_status(
    config: Path | None, show: Callable[[FleetStatus, Path], str], period_s: float, *, in_place: bool
) -> None:
    """Draw every `period_s`, in place on a terminal, else one text after the other; returns after Ctrl-C.

    While no fleet runs or answers, it says so and waits. Raises `ConfigError` for a configuration that can't be read.
    """
    try:
        if in_place:
            with Live(auto_refresh=False) as screen:
                _repeat(config, show, period_s, lambda text: screen.update(_panel(text), refresh=True))
        else:
            _repeat(config, show, period_s, click.echo)
    except KeyboardInterrupt:
        return


def _repeat(
    config: Path | None, show: Callable[[FleetStatus, Path], str], period_s: float, draw: Callable[[str], object]
) -> None:
    while True:
        try:
            found = running_fleet(config, announce=False)
            with FleetClient(found.endpoints.fleet_rpc, ANSWER_S) as client:
                while True:
                    _draw_and_wait(draw, show(client.status(), Path(found.run_dir)), period_s)
        except (NoFleet, Unreachable, Refused) as error:  # it may start, or start again, elsewhere by now
            _draw_and_wait(draw, f"no status: {error}", period_s)


def _draw_and_wait(draw: Callable[[str], object], text: str, period_s: float) -> None:
    due_s = time.monotonic() + period_s
    draw(text)
    time.sleep(max(0.0, due_s - time.monotonic()))


def _panel(text: str) -> Panel:
    return Panel(Text(text), title="floop status --watch (Ctrl-C ends it)", border_style="cyan")
