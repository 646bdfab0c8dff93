"""Make the shipped baselines again: `python -m floop_policies.make [NAME …]`, with `floop train` and the recipes.

Needed whenever a task's contract changes. A policy below the recipe's `until_success` is not taken over.
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


def make(name: str) -> bool:
    """Run one recipe; returns whether its policy was good enough to be taken over."""
    with tempfile.TemporaryDirectory(prefix="floop-make-") as folder:
        command = [sys.executable, "-m", "floop_robot.cli", "train", "--recipe", str(recipe_path(name))]
        done = subprocess.run([*command, "--out", folder, "--json"], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            print(f"{name}: floop train ended with status {done.returncode}", file=sys.stderr)
            return False
        result = json.loads(done.stdout)
        wanted = yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))["until_success"]
        print(f"{name}: success {result['success']:.3f}, pick time {result['mean_pick_time_s']:.2f} s")
        if result["success"] < wanted:
            print(f"{name}: below {wanted}; the shipped policy stays. Change the recipe's seed.", file=sys.stderr)
            return False
        bundle_path(name).parent.mkdir(exist_ok=True)
        shutil.copyfile(Path(result["bundle"]), bundle_path(name))
        shutil.copyfile(Path(result["checkpoint"]), checkpoint_path(name))
    return True


def main(argv: list[str]) -> int:
    """Make the named baselines, or all."""
    made = [make(name) for name in argv or NAMES.values()]  # one that fails does not keep the others from being made
    return 0 if all(made) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
