"""Train the shipped policies again: `python -m floop_policies.make [NAME …]` runs their recipes with `floop train`.

Needed when the contract of a task changes. A policy below the recipe's `until_success` does not replace the old one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from floop_policies import NAMES, bundle_path, checkpoint_path, recipe_path
from floop_robot.spec.errors import UnknownName


def make(recipe: Path, bundle: Path, checkpoint: Path, min_success: float | None = None) -> bool:
    """Run a recipe; write bundle and checkpoint if they are good enough. False if nothing was written.

    `min_success` None: the recipe's `until_success`.
    """
    name = recipe.stem
    with tempfile.TemporaryDirectory(prefix="floop-make-") as folder:
        command = [sys.executable, "-m", "floop_robot.cli", "train", "--recipe", str(recipe), "--out", folder, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            print(f"{name}: floop train ended with status {done.returncode}", file=sys.stderr)
            return False
        result = json.loads(done.stdout.splitlines()[-1])
        if min_success is None:
            min_success = yaml.safe_load(recipe.read_text(encoding="utf-8"))["until_success"]
        time_s = result["mean_pick_time_s"]
        print(
            f"{name}: success {result['success']:.3f}" + (f", pick time {time_s:.2f} s" if time_s is not None else "")
        )
        if result["success"] < min_success:
            print(
                f"{name}: below {min_success}, so {bundle} is unchanged; try another seed in {recipe}", file=sys.stderr
            )
            return False
        bundle.parent.mkdir(exist_ok=True)
        shutil.copyfile(Path(result["bundle"]), bundle)
        shutil.copyfile(Path(result["checkpoint"]), checkpoint)
    return True


def main(argv: list[str]) -> int:
    """Make the named policies, or all; status 1 if one was not made, 2 for an unknown name."""
    for name in argv:
        if name not in NAMES.values():
            print(UnknownName("policy", name, NAMES.values(), "the shipped policies"), file=sys.stderr)
            return 2
    # All are tried, also after one that failed.
    made = [make(recipe_path(name), bundle_path(name), checkpoint_path(name)) for name in argv or NAMES.values()]
    return 0 if all(made) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
