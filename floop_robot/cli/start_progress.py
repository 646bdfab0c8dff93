"""Which processes of a fleet do not work yet, on stderr, until all do."""

from __future__ import annotations

import time
from collections.abc import Iterable

import click

from floop_robot.services.supervision.process_health import process_health
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.spec.config import FloopConfig

LOOK_EVERY_S = 1.0
FIRST_LINE_S = 5.0
"""Lines come after this time, twice of it, four times of it and so on."""
SHOWN = 6
"""More names than that are only counted."""
_ANSWER_S = 0.2
"""Short: Ctrl-C waits for it."""


class StartProgress:
    """Call `show` often; it looks and writes now and then."""

    def __init__(self, specs: Iterable[ProcessSpec], config: FloopConfig) -> None:
        self._waiting, self._config = list(specs), config
        self._count, self._begun_s = len(self._waiting), time.monotonic()
        self._look_s, self._line_s = LOOK_EVERY_S, FIRST_LINE_S

    def show(self) -> None:
        """Say which processes are waited for; once that none is; then nothing more."""
        elapsed_s = time.monotonic() - self._begun_s
        if not self._waiting or elapsed_s < self._look_s:
            return
        self._look_s = elapsed_s + LOOK_EVERY_S
        # What wrote its figures before this start says nothing about it.
        self._waiting = [s for s in self._waiting if not process_health(s, self._config, elapsed_s, _ANSWER_S).ok]
        if not self._waiting:
            click.echo(f"{elapsed_s:4.0f} s  " + ("all processes work" if self._count > 1 else "it works"), err=True)
        elif elapsed_s >= self._line_s:
            self._line_s *= 2
            names = [spec.name for spec in self._waiting]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            click.echo(f"{elapsed_s:4.0f} s  waiting for {', '.join(names[:SHOWN])}{more}", err=True)
