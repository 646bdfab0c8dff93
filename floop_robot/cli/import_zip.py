"""`floop import`: a bundle of a stable-baselines3 zip, for what takes bundles only, such as ROS services."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.cli.zip_options import zip_options


@click.command("import")
@click.argument("file", metavar="ZIP", type=click.Path(path_type=Path))
@click.option("--task", default="floop/Pick-v0", show_default=True, metavar="ID", help="Task that it was trained on.")
@click.option("--robot", default="panda", show_default=True, metavar="NAME", help="Robot model of the task.")
@zip_options
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Bundle to write; ZIP's name with .floop.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.")
def import_zip(
    file: Path, task: str, robot: str, trust: bool, vecnormalize: Path | None, out: Path | None, overwrite: bool
) -> None:
    """Make a policy bundle of a stable-baselines3 ZIP, with its VecNormalize statistics if it has any.

    The bundle needs no --trust any more, and can be pushed by a ROS service.
    """
    from floop_robot.bundle import SUFFIX
    from floop_robot.services.import_zip import bundle_of_zip
    from floop_robot.spec.errors import ConfigError

    place = out or file.with_suffix(SUFFIX)
    if place.exists() and not overwrite:
        raise ConfigError(f"{place} exists; give another --out, or --overwrite")
    bundle = bundle_of_zip(file, task, robot, trust=trust, vecnormalize=vecnormalize)
    bundle.save(place)
    click.echo(f"{place}: a bundle for {bundle.manifest.task}, sha256 {bundle.manifest.sha256[:12]}")
