"""`floop restore`: puts a backup back."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.services.backup import restore as restore_backup
from floop_robot.services.supervision.fleet_description import CONFIG_FILE


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--run-dir", type=click.Path(path_type=Path), default=None,
              help="Where to; empty or missing. Left out: the run directory that it was made of.")  # fmt: skip
def restore(folder: Path, run_dir: Path | None) -> None:
    """Check the backup in FOLDER, every file of it, and put it into an empty run directory.

    The fleet goes on where it was: robots deliver what they still have, and versions only grow.
    """
    target = restore_backup(folder, run_dir)
    click.echo(f"restored {target}; start it: floop up --config {target / CONFIG_FILE}")
