"""`floop status`: what a running fleet is doing."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import click
import msgspec

from floop_robot.cli.audit import entry_line
from floop_robot.cli.robot_notes import robot_notes
from floop_robot.cli.status_watch import watch_status
from floop_robot.cli.which_fleet import fleet_options, running_fleet
from floop_robot.deploy import FleetClient, FleetStatus
from floop_robot.deploy.deployment_monitor import MonitorDecision, MonitorReport
from floop_robot.deploy.messages import RobotStatus, StorageUse
from floop_robot.deploy.registry import FLEET, Directive
from floop_robot.spec.calibration import calibration_text
from floop_robot.spec.local_time import local_time

_FOUND = {
    MonitorDecision.HOLD: "not confirmed yet",
    MonitorDecision.PROMOTE: "confirmed",
    MonitorDecision.ROLL_BACK: "rolled back",
}


@click.command()
@fleet_options
@click.option("--watch", is_flag=True, help="Show it again and again until Ctrl-C; waits for a fleet that starts.")
@click.option("--every", "period_s", default=1.0, show_default=True, type=click.FloatRange(0.1),
              help="How often with --watch, s.")  # fmt: skip
def status(config: Path | None, as_json: bool, watch: bool, period_s: float) -> None:
    """Show versions, live success, candidates, and the latest entries of the audit log."""
    show = _json if as_json else _text
    if watch:
        named = show if as_json or config else _with_name
        watch_status(config, named, period_s, in_place=not as_json and sys.stdout.isatty())
        return
    found = running_fleet(config)
    with FleetClient(found.endpoints.fleet_rpc) as client:
        click.echo(show(client.status(), Path(found.run_dir)))


def _json(s: FleetStatus, _: Path) -> str:
    return msgspec.json.encode(s).decode()


def _with_name(s: FleetStatus, run_dir: Path) -> str:
    """Which fleet was found, each time: another one may be found later."""
    return f"fleet of {run_dir}\n{_text(s, run_dir)}"


def _text(s: FleetStatus, run_dir: Path) -> str:
    """`run_dir`: of the fleet; robots of this host tell more there."""
    lines = [f"{local_time(s.stamp_ns)}  production v{s.production} (baseline v{s.baseline}), epoch {s.epoch}"]
    if s.watch is not None:
        found = _FOUND[s.watch.decision]
        bytes_of = f" (the bytes of v{s.watch.version})" if s.watch.version != s.production else ""
        lines.append(f"v{s.production}{bytes_of} in production for {s.watched_s:.0f} s: {found}, {s.watch.reason}")
    if s.calibration:
        lines.append(f"v{s.production} corrects perceived positions of {calibration_text(s.calibration)}")
    if s.canary is not None:
        lines.append(f"{s.canary_robot} alone tries v{s.canary.version}: {_tallies(s.canary)}")
    lines.append(f"candidates: {s.accepted} accepted, {s.rejected} rejected, {s.inconclusive} inconclusive")
    if s.trouble:
        lines.append(f"trouble: {s.trouble}")
    lines += [f"refused: {note}" for note in s.notes]
    if standing := _directives(s.fleet):
        lines.append(f"the whole fleet:{standing}")
    for robot in s.robots:
        drained = "  drained" if robot.drained and not robot.directive.drained else ""
        marks = _directives(robot.directive) + drained + ("  stopped" if robot.estop else "")
        marks += "  stop pending" if robot.stop_pending else ""
        refused = f"  {robot.last_refusal}" if robot.last_refusal else ""
        heard = f"heard {robot.silent_s:.1f} s ago" if math.isfinite(robot.silent_s) else "not heard yet"
        lines.append(f"  {robot.robot:<12} {_versions(robot)}, {heard}{marks}{refused}")
        if robot.duplicate:
            lines.append(f"    a second {robot.robot} on {robot.duplicate} is refused; this one is on {robot.host}")
        lines += [f"    {note}" for note in robot_notes(run_dir, robot.robot)]
    for live in s.live:
        rates = ", ".join(f"{name} {t.successes}/{t.episodes}" for name, t in live.classes.items())
        lines.append(f"  live {'/'.join(f'v{v}' for v in live.versions)}: {rates or 'no episode yet'}")
    if s.storage:
        lines.append("storage: " + "; ".join(map(_storage, s.storage)))
    lines += [f"  {entry_line(entry)}" for entry in s.audit]
    return "\n".join(lines)


def _versions(robot: RobotStatus) -> str:
    """What acts, what is loaded and acts with the next step, and what is wanted."""
    loaded = f"v{robot.version}"
    if robot.acting != robot.version:
        loaded = f"v{robot.acting} acts, {loaded} loaded" if robot.acting else f"{loaded} loaded, none acts yet"
    return f"{loaded} (wants v{robot.target})"


def _storage(use: StorageUse) -> str:
    """What one kind of files uses, of how much."""
    return f"{use.name} {_size(use.bytes)} of {_size(use.bound)}{f' ({use.note})' if use.note else ''}"


def _size(count: int) -> str:
    return (
        f"{count / 1e9:.3g} GB"
        if count >= 1e9
        else f"{count / 1e6:.3g} MB"
        if count >= 1e6
        else f"{count / 1e3:.3g} kB"
    )


def _tallies(report: MonitorReport) -> str:
    """What a version that one robot tries has done so far; what failed before is marked."""
    done = (
        f"{each.object_class} {each.tally.successes}/{each.tally.episodes}{' (failed before)' if each.failing else ''}"
        for each in report.classes
    )
    return ", ".join(done) or "no episode yet"


def _directives(directive: Directive) -> str:
    """What was commanded for a scope, in words; may be empty."""
    tries = f"  tries v{directive.pin}" if directive.canary else ""
    pinned = f"  pinned to v{directive.pin} (no updates, no rollbacks)" if directive.pin and not tries else ""
    version = "" if directive.scope == FLEET else f" on v{directive.hold}"
    held = f"  held{version} (no updates, only rollbacks)" if directive.hold else ""
    return tries + pinned + held + ("  drained" if directive.drained else "")
