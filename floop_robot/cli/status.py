"""`floop status`: what a running fleet is doing."""

from __future__ import annotations

import math
import time
from pathlib import Path

import click
import msgspec

from floop_robot.cli.fleet import connect, fleet_options
from floop_robot.rollout import FleetStatus


@click.command()
@fleet_options
def status(config: Path | None, as_json: bool) -> None:
    """Show versions, live success, candidates and the latest entries of the audit log."""
    with connect(config) as client:
        found = client.status()
    click.echo(msgspec.json.encode(found).decode() if as_json else _text(found))


def _text(s: FleetStatus) -> str:
    lines = [f"production v{s.production} (baseline v{s.baseline}), epoch {s.epoch}"]
    if s.watch is not None:
        lines.append(f"watching v{s.watch.version} for {s.watched_s:.0f} s: {s.watch.decision}, {s.watch.reason}")
    lines.append(f"candidates: {s.accepted} accepted, {s.rejected} rejected, {s.inconclusive} inconclusive")
    for robot in s.robots:
        held = "  held" if robot.directive.held else ""
        pinned = f"  pinned to v{robot.directive.pin}" if robot.directive.pin else ""
        refused = f"  {robot.last_refusal}" if robot.last_refusal else ""
        heard = f"heard {robot.silent_s:.1f} s ago" if math.isfinite(robot.silent_s) else "not heard yet"
        lines.append(
            f"  {robot.robot:<12} v{robot.version} (wants v{robot.target}), {heard}{held}{pinned}{refused}"
        )
    for live in s.live:
        rates = ", ".join(f"{name} {t.successes}/{t.episodes}" for name, t in live.classes.items())
        lines.append(f"  live {'/'.join(f'v{v}' for v in live.versions)}: {rates}")
    for entry in s.audit:
        when = time.strftime("%H:%M:%S", time.localtime(entry.stamp_ns / 1e9))
        lines.append(f"  {when}  {entry.who}: {entry.what} {entry.detail}".rstrip())
    return "\n".join(lines)
