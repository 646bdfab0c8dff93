"""`floop policies`: the versions of a fleet, and what became of them."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from floop_robot.cli.fleet_history import known_fleet, policies_of
from floop_robot.cli.which_fleet import fleet_options
from floop_robot.deploy import Policies
from floop_robot.deploy.messages import MAX_POLICIES
from floop_robot.deploy.registry import VersionInfo
from floop_robot.spec.calibration import calibration_text
from floop_robot.spec.local_time import local_time

SHOWN = 100


@click.command()
@fleet_options
@click.option("--last", default=SHOWN, show_default=True, type=click.IntRange(1, MAX_POLICIES), metavar="N",
              help="The last N versions.")  # fmt: skip
def policies(config: Path | None, as_json: bool, last: int) -> None:
    """List versions, oldest first: where they come from, the gate's verdict and their live success.

    The second line of each says why it was published. A fleet that has stopped is read from its run directory.
    """
    found = policies_of(known_fleet(config), last)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    if len(found.versions) < found.count:
        click.echo(f"the last {len(found.versions)} of {found.count} versions; --last shows more", err=True)
    for info in found.versions:
        click.echo(_line(info, found))
        if info.reason:
            click.echo(f"      {info.reason}")


def _line(info: VersionInfo, found: Policies) -> str:
    restores = f", bytes of v{info.restores}" if info.restores else ""
    verdict = info.decision or "not judged"
    aliases = {"production": found.production, "baseline": found.baseline}
    marks = [name for name, version in aliases.items() if version == info.version]
    corrects = f"corrects {calibration_text(info.calibration)}" if info.calibration else ""
    return (
        f"v{info.version:<4} {local_time(info.published_ns)}  {info.origin}{restores}, {verdict}, "
        f"{_live(info, found)}, parent v{info.parent}, by {info.who}  "
        f"{info.sha256[:12]}  {' '.join((*marks, corrects))}".rstrip()
    )


def _live(info: VersionInfo, found: Policies) -> str:
    """Live success of a version's weights, and the other numbers that they had."""
    live = next((each for each in found.live if each.sha256 == info.sha256), None)
    tallies = live.classes.values() if live else ()
    others = [f"v{version}" for version in (live.versions if live else ()) if version != info.version]
    successes, episodes = sum(t.successes for t in tallies), sum(t.episodes for t in tallies)
    if not episodes:
        return "no live episode"
    confirmed = " confirmed" if info.version in found.confirmed else ""
    same = f" together with {', '.join(others)}" if others else ""
    return f"live {successes}/{episodes} ({successes / episodes:.0%}){same}{confirmed}"
