"""`floop bench`: runs the project's benchmarks."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click
import msgspec

from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.resources import share_dir


class BenchmarkResult(msgspec.Struct, frozen=True):
    """One benchmark with `--json`."""

    benchmark: str
    passed: bool
    wall_s: float
    output: tuple[str, ...]
    """The lines that it printed; a benchmark with a JSON report of its own prints that."""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--list", "only_list", is_flag=True, help="List the names only.")
@click.option("--smoke", is_flag=True, help="Only check that each runs: a few seconds each, without limits to reach.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per benchmark.")
def bench(names: tuple[str, ...], only_list: bool, smoke: bool, as_json: bool) -> int:
    """Run benchmarks by NAME (left out: all). Each prints a table and describes its own method."""
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
        failed += not _run(known[name], smoke, as_json)
    return 1 if failed else 0


def _run(script: Path, smoke: bool, as_json: bool) -> bool:
    options = ["--smoke"] if smoke else []
    if as_json and '"--json"' in script.read_text(encoding="utf-8"):
        options.append("--json")
    began = time.monotonic()
    output = subprocess.PIPE if as_json else None
    done = subprocess.run([sys.executable, str(script), *options], check=False, stdout=output, text=True)
    if as_json:
        lines = tuple((done.stdout or "").splitlines())
        found = BenchmarkResult(script.stem, done.returncode == 0, round(time.monotonic() - began, 1), lines)
        click.echo(msgspec.json.encode(found).decode())
    return done.returncode == 0
