"""Which processes of a fleet do not work yet, on stderr, until all do; then which of its arms stand."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.estop_socket import LATCH_FILE
from floop_robot.robot.ipc import link_folder
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
        self._robots = [spec.robot for spec in self._waiting if spec.part == "safety"]
        self._count, self._begun_s = len(self._waiting), time.monotonic()
        self._look_s, self._line_s = LOOK_EVERY_S, FIRST_LINE_S

    def show(self) -> None:
        """Say which processes are waited for; once that none is, and which arms stand; then nothing more."""
        elapsed_s = time.monotonic() - self._begun_s
        if not self._waiting or elapsed_s < self._look_s:
            return
        self._look_s = elapsed_s + LOOK_EVERY_S
        # What wrote its figures before this start says nothing about it.
        self._waiting = [s for s in self._waiting if not process_health(s, self._config, elapsed_s, _ANSWER_S).ok]
        if not self._waiting:
            click.echo(f"{elapsed_s:4.0f} s  " + ("all processes work" if self._count > 1 else "it works"), err=True)
            for line in _standing(Path(self._config.run_dir), self._robots):
                click.echo(f"        {line}", err=True)
        elif elapsed_s >= self._line_s:
            self._line_s *= 2
            names = [spec.name for spec in self._waiting]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            click.echo(f"{elapsed_s:4.0f} s  waiting for {', '.join(names[:SHOWN])}{more}", err=True)


def _standing(run_dir: Path, robots: Iterable[str]) -> Iterator[str]:
    """A line for each reason why arms stand, and one that tells how to let them move again."""
    latches = {robot: EstopLatch(link_folder(run_dir, robot) / LATCH_FILE) for robot in robots}
    stopped = [robot for robot, latch in latches.items() if latch.is_set]
    for reason in dict.fromkeys(latch.reason for latch in latches.values() if latch.blocks):
        names = [robot for robot, latch in latches.items() if latch.blocks and latch.reason == reason]
        yield f"{', '.join(names)} {'stand' if len(names) > 1 else 'stands'}: {reason}"
    if stopped:
        them = "them" if len(stopped) > 1 else "it"
        yield f"to let {them} move again, look at {them}, then `floop reset {' '.join(stopped)}`"
