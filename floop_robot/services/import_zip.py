"""A bundle made of a stable-baselines3 zip, in a process of its own.

Whatever code the zip runs does not run in the fleet manager, and torch is not loaded there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from floop_robot.bundle import Bundle
from floop_robot.services.supervision.ros_domain import child_environment
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError, FloopError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

IMPORT_TIMEOUT_S = 120.0
"""Loading torch and a zip takes seconds."""


class ImportFailed(FloopError):
    """A zip of which no bundle could be made."""


def bundle_of_zip(path: Path, config: FloopConfig, *, trust: bool) -> Bundle:
    """Make a bundle of a zip for the fleet's task, in another process; raises `FloopError`s in one line."""
    if not trust:
        raise ImportFailed(
            f"{path} is a stable-baselines3 zip, which can run code; if you trust it, say so: --trust, "
            "or trust_sb3_zip in a call"
        )
    if not path.is_file():
        what = "no regular file" if path.exists() else "no such file"
        raise ImportFailed(f"cannot read {path}: {what}; check the path")
    if not zipfile.is_zipfile(path):
        raise ImportFailed(f"{path} is no stable-baselines3 zip; use one of SAC or PPO")
    with tempfile.TemporaryDirectory(prefix="floop-import-") as folder:
        made = Path(folder) / "imported.floop"
        command = [sys.executable, "-m", "floop_robot.services.entry", "import_zip"]
        command += ["--zip", str(path.absolute()), "--task", config.task, "--robot", config.robot.model]
        try:
            done = subprocess.run(
                [*command, "--out", str(made)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=IMPORT_TIMEOUT_S,
                env=child_environment(os.environ) | {"OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            raise ImportFailed(
                f"{path} was not loaded within {IMPORT_TIMEOUT_S:g} s; import it with `floop push`"
            ) from None
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise ImportFailed(lines[-1].removeprefix("import_zip: "))
        return Bundle.load(made)


def main(argv: list[str] | None = None) -> int:
    """Write the bundle; errors that a user can mend are raised as `FloopError`."""
    parser = argparse.ArgumentParser(prog="import_zip", description="Make a bundle of a zip.")
    parser.add_argument("--zip", type=Path, required=True, help="stable-baselines3 model; whoever calls this trusts it")
    parser.add_argument("--task", default=load_config(None).task)
    parser.add_argument("--robot", default=load_config(None).robot.model, help="model of the arm")
    parser.add_argument("--out", type=Path, required=True, help="bundle to write")
    arguments = parser.parse_args(argv)
    rules = get_task(arguments.task)
    ids = ids_of(rules, load_robot(arguments.robot))
    try:
        from floop_robot.learn.sb3_import import bundle_from_zip
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed here; pip install 'floop-robot[learn]'") from None
    bundle_from_zip(arguments.zip, rules.spec, ids, trust=True).save(arguments.out)
    return 0
