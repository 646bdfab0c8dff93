"""`floop reports`: what the gate's verdicts rest on, also of a fleet that has stopped."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click
import msgspec

from floop_robot.cli.which_fleet import fleet_config, fleet_options
from floop_robot.gate.report import TrialReport, markdown
from floop_robot.gate.report_log import read_reports
from floop_robot.spec.errors import UnknownName
from floop_robot.spec.local_time import local_time

SHOWN = 20


@click.command()
@click.argument("candidate", default="")
@fleet_options
@click.option("--last", default=SHOWN, show_default=True, type=click.IntRange(1), metavar="N",
              help="The last N verdicts.")  # fmt: skip
def reports(candidate: str, config: Path | None, as_json: bool, last: int) -> None:
    """List the gate's verdicts, oldest first, or show the whole report of CANDIDATE.

    CANDIDATE is the beginning of its name, as `floop policies` shows it. With --json, one list of whole reports.
    """
    folder = Path(fleet_config(config).run_dir) / "gate"
    every = read_reports(folder)
    if candidate:
        found = [each for each in every if each.verdict.candidate_sha256.startswith(candidate)]
        if not found:
            known = (each.verdict.candidate_sha256[:8] for each in islice(read_reports(folder), SHOWN))
            raise UnknownName("candidate", candidate, known, f"the reports in {folder}")
        chosen = list(reversed(found[:last]))
    else:
        chosen = list(reversed(list(islice(every, last))))
    if as_json:
        click.echo(msgspec.json.encode(chosen).decode())
        return
    if not chosen:
        click.echo("no verdict yet: the gate judges candidates only while something fails on the robots", err=True)
    for report in chosen:
        click.echo(markdown(report) if candidate else _line(report))


def _line(report: TrialReport) -> str:
    verdict = report.verdict
    return (
        f"{local_time(report.judged_ns)}  {verdict.candidate_sha256[:8]}  {verdict.decision} against "
        f"v{verdict.incumbent_version} in {verdict.duration_s:.1f} s: {verdict.reason}"
    )
