"""`floop audit`: who did what to a fleet, and when."""

from __future__ import annotations

import re
import time
from datetime import datetime
from pathlib import Path

import click
import msgspec

from floop_robot.cli.fleet_history import audit_of, known_fleet
from floop_robot.cli.which_fleet import fleet_options
from floop_robot.deploy.registry import SUBMITTED, AuditEntry
from floop_robot.spec.errors import UnknownName
from floop_robot.spec.local_time import local_time

SHOWN = 100
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def since_ns(_: click.Context, __: click.Parameter, value: str | None) -> int:
    """When `--since` begins, wall-clock ns: so long ago (`90s`, `15m`, `2h`, `3d`), or from a date or time on."""
    if value is None:
        return 0
    if ago := re.fullmatch(r"(\d{1,9})([smhdw])", value):
        return time.time_ns() - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000_000
    try:
        return int(datetime.fromisoformat(value).astimezone().timestamp()) * 1_000_000_000
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{value!r} is no time; give how long ago (90s, 15m, 2h, 3d), or a date, as in 2026-05-30 or "
            "'2026-05-30 14:00'"
        ) from None


@click.command()
@fleet_options
@click.option("--robot", default="", help="Only entries that name this robot.")
@click.option("--since", default=None, callback=since_ns, metavar="TIME",
              help="Only entries since then: 2h, 3d, 2026-05-30, '2026-05-30 14:00' (local time).")  # fmt: skip
@click.option("--last", default=None, type=click.IntRange(0), metavar="N",
              help=f"Only the last N entries, 0 for all. Left out: {SHOWN}, and all with --since.")  # fmt: skip
@click.option("--candidates", is_flag=True, help="Also the arrivals of candidates, which come every few seconds.")
def audit(config: Path | None, as_json: bool, robot: str, since: int, last: int | None, candidates: bool) -> None:
    """Show who did what and when, oldest first: commands, decisions of the fleet manager, stops and resets.

    A fleet that has stopped is read from its run directory. With --json, one list of entries.
    """
    effective = known_fleet(config)
    names = re.compile(rf"(?<![\w.-]){re.escape(robot)}(?![\w-])")
    most = last if last is not None else 0 if since else SHOWN
    shown: list[AuditEntry] = []
    for entry in audit_of(effective):
        if entry.stamp_ns < since:  # stamps never go back
            break
        is_meant = (candidates or entry.what != SUBMITTED) and (
            not robot or names.search(f"{entry.what} {entry.detail}") is not None
        )
        if is_meant and most and len(shown) == most:
            if last is None:
                click.echo(f"the last {most} entries; --last 0 shows all", err=True)
            break
        if is_meant:
            shown.append(entry)
    shown.reverse()
    if robot and not shown and robot not in effective.robot_names:
        raise UnknownName("robot", robot, effective.robot_names)
    if as_json:
        click.echo(msgspec.json.encode(shown).decode())
        return
    for entry in shown:
        click.echo(entry_line(entry))


def entry_line(entry: AuditEntry) -> str:
    """One line of the audit."""
    version = (
        f" v{entry.version}" if entry.version and f"v{entry.version}" not in re.split(r"[\s,;]", entry.what) else ""
    )
    return f"{local_time(entry.stamp_ns)}  {entry.who}: {entry.what}{version} {entry.detail}".rstrip()
