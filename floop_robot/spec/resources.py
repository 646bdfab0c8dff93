"""Where the files that ship beside the code lie: in a checkout, or under `share/` of the installation."""

from __future__ import annotations

import sys
from pathlib import Path

from floop_robot.spec.errors import FloopError

PACKAGE = "floop_robot"


def share_dir() -> Path:
    """Folder that holds `config/` and `launch/`: the checkout, else `PREFIX/share/floop_robot`."""
    package = Path(__file__).resolve().parents[1]
    candidates = [package.parent, Path(sys.prefix) / "share" / PACKAGE, *_prefixes_above(package)]
    for folder in candidates:
        if (folder / "config" / "robots").is_dir():
            return folder
    looked = " or ".join(map(str, candidates[:2]))
    raise FloopError(f"floop's config folder was not found in {looked}; reinstall floop-robot")


def _prefixes_above(package: Path) -> list[Path]:
    # colcon installs to PREFIX/lib/pythonX.Y/site-packages/floop_robot, and pip --target somewhere above it.
    return [parent / "share" / PACKAGE for parent in package.parents]
