"""Optional modules, and the extra of the checkout that installs each: floop is on no package index."""

from __future__ import annotations

EXTRAS = {
    "pybullet": "sim",
    "pybullet_data": "sim",
    "gymnasium": "sim",
    "torch": "learn",
    "stable_baselines3": "learn",
    "tensorboard": "tensorboard",
    "matplotlib": "report",
    "PIL": "report",
    "av": "video",
}
"""Import name → extra."""
REINSTALL = "in the checkout, run `pip install --force-reinstall .`"
"""Cure of an installation that lacks what it must have."""


def install_hint(module: str) -> str | None:
    """Say how to install `module`; None when it belongs to no extra."""
    extra = EXTRAS.get(module.split(".")[0])
    return f'in the checkout, run `pip install ".[{extra}]"`' if extra else None
