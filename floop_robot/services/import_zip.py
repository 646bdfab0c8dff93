"""Reads policies as people give them; makes a bundle from a stable-baselines3 zip in a separate process.

So no code from the zip runs in the fleet manager, and the fleet manager does not load torch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from floop_robot.bundle import SUFFIX, Bundle
from floop_robot.bundle.foreign_file import is_sb3_zip, kind_of, kind_of_zip
from floop_robot.services.entry import USER_ERROR
from floop_robot.services.supervision.ros_domain import child_environment
from floop_robot.spec.config import load_config
from floop_robot.spec.errors import BundleRefused, ConfigError, FloopError
from floop_robot.spec.extras import install_hint
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

IMPORT_TIMEOUT_S = 120.0
"""Loading torch and a zip takes seconds, on a busy machine many."""
_PREFIX = "import_zip: "
"""How the other process begins its one line."""


class ImportFailed(FloopError):
    """No bundle could be made from a zip."""


def read_policy(path: Path, task: str, robot: str, *, trust: bool = False, vecnormalize: Path | None = None) -> Bundle:
    """Read a policy of a person: a bundle, or a stable-baselines3 zip for this task; raises `FloopError` in one line.

    `vecnormalize`: statistics that the zip was trained with. Whether a bundle fits the task is not looked at.
    """
    if path.is_dir():  # what a training leaves: say which file in it was meant
        found = sorted(each for kind in (SUFFIX, ".zip") for each in path.glob(f"*{kind}"))[:3]
        cure = f"give {' or '.join(map(str, found))}" if found else f"no {SUFFIX} file is in it; give a file"
        raise BundleRefused(f"{path} is no policy bundle: it is a folder; {cure}")
    if is_zip(path):
        return bundle_of_zip(path, task, robot, trust=trust, vecnormalize=vecnormalize)
    bundle = Bundle.load(path)
    if vecnormalize is not None:
        raise ImportFailed(f"--vecnormalize goes with a stable-baselines3 zip; {path} is a bundle, which has its own")
    return bundle


def bundle_of_zip(path: Path, task: str, robot: str, *, trust: bool, vecnormalize: Path | None = None) -> Bundle:
    """Make a bundle from a zip, in another process; raises `FloopError`."""
    try:
        if not path.is_file():
            what = "no regular file" if path.exists() else "no such file"
            raise ImportFailed(f"cannot read {path}: {what}; check the path")
        with path.open("rb") as file:
            if not is_sb3_zip(file):
                found = kind_of_zip(file) if is_zip(path) else kind_of(_beginning(path))
                raise ImportFailed(f"{path} is no stable-baselines3 zip: it is {found}")
        if not trust:
            raise ImportFailed(
                f"{path} is a stable-baselines3 zip, which can run code when it is read; if you trust it, "
                "give --trust (in a service call: trust_sb3_zip)"
            )
        if vecnormalize is not None and not vecnormalize.is_file():
            raise ImportFailed(f"cannot read {vecnormalize}: no such file; give the file that VecNormalize.save wrote")
        return _import(path, task, robot, vecnormalize)
    except OSError as error:  # a name that is too long, a folder that may not be read, a full disk
        raise ImportFailed(f"cannot import {path}: {error.strerror or error}; check path and disk") from None


def is_zip(path: Path) -> bool:
    """Whether a regular file begins as a zip does, whatever its name; False for what can't be read."""
    try:
        return path.is_file() and _beginning(path).startswith(b"PK")
    except OSError:
        return False


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)


def _import(path: Path, task: str, robot: str, vecnormalize: Path | None) -> Bundle:
    with tempfile.TemporaryDirectory(prefix="floop-import-") as folder:
        made = Path(folder) / "imported.floop"
        command = [sys.executable, "-m", "floop_robot.services.entry", "import_zip", "--zip", str(path.absolute())]
        command += ["--task", task, "--robot", robot, "--out", str(made)]
        command += ["--vecnormalize", str(vecnormalize.absolute())] if vecnormalize else []
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=IMPORT_TIMEOUT_S,
                env=child_environment(os.environ) | {"OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            raise ImportFailed(
                f"{path} was not loaded within {IMPORT_TIMEOUT_S:g} s; try again when the machine is less busy"
            ) from None
        lines = done.stderr.strip().splitlines() or [""]
        if done.returncode == USER_ERROR and lines[-1].startswith(_PREFIX):
            raise ImportFailed(lines[-1].removeprefix(_PREFIX))
        if done.returncode != 0 or not made.is_file():
            raise ImportFailed(
                f"{path} ended the process that read it (status {done.returncode}, last line: {lines[-1][:200]!r}); "
                "save the model again with model.save"
            )
        return Bundle.load(made)


def main(argv: list[str] | None = None) -> int:
    """Write the bundle; raises `FloopError` for what a user can correct."""
    parser = argparse.ArgumentParser(prog="import_zip", description="Make a bundle from a stable-baselines3 zip.")
    parser.add_argument("--zip", type=Path, required=True, help="stable-baselines3 model; the caller trusts it")
    parser.add_argument("--task", default=load_config(None).task)
    parser.add_argument("--robot", default=load_config(None).robot.model, help="model of the arm")
    parser.add_argument("--vecnormalize", type=Path, help="statistics of its observations; the caller trusts them")
    parser.add_argument("--out", type=Path, required=True, help="bundle to write")
    arguments = parser.parse_args(argv)
    rules = get_task(arguments.task)
    ids = ids_of(rules, load_robot(arguments.robot))
    try:
        from floop_robot.learn.sb3_import import bundle_from_zip
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed here; {install_hint(error.name or '')}") from None
    bundle_from_zip(arguments.zip, rules.spec, ids, arguments.vecnormalize).save(arguments.out)
    return 0
