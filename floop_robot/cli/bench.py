"""`floop bench`: the project's benchmarks, side by side in one run each."""

from __future__ import annotations

import subprocess
import sys

import click

from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.resources import share_dir


@click.command()
@click.argument("names", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="Only list what there is.")
def bench(names: tuple[str, ...], only_list: bool) -> int:
    """Run benchmarks by NAME (left out: all). Each prints a table of ratios and its own method."""
    folder = share_dir() / "benchmarks"
    if not folder.is_dir():
        raise FloopError(f"{folder} is missing: benchmarks come with the source, not with the installed package")
    known = {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    for name in names:
        if name not in known:
            raise UnknownName("benchmark", name, known)
    failed = 0
    for name in names or known:
        if only_list:
            click.echo(name)
            continue
        click.echo(f"== {name}", err=True)
        failed += subprocess.run([sys.executable, str(known[name])], check=False).returncode != 0
    return 1 if failed else 0
