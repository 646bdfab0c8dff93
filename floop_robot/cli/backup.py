"""`floop backup`: copies a fleet's central files, also while it runs."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from floop_robot.cli.which_fleet import fleet_config, fleet_options
from floop_robot.services.backup import back_up


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@fleet_options
def backup(folder: Path, config: Path | None, as_json: bool) -> None:
    """Copy journal, registry, checkpoint, configuration and reports of a fleet into the new FOLDER.

    The fleet may run. `floop restore FOLDER` puts them back. What robots have not delivered stays with the robots.
    """
    made = back_up(Path(fleet_config(config).run_dir), folder)
    if as_json:
        click.echo(msgspec.json.encode(made).decode())
        return
    size = sum(each.bytes for each in made.files)
    click.echo(f"{len(made.files)} files of {made.run_dir}, {size / 1e6:.1f} MB, in {folder}")
