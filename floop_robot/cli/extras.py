"""Optional modules, and the extra of floop-robot that installs each."""

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


def install_hint(module: str) -> str | None:
    """Return the command that installs `module`, or None when it belongs to no extra."""
    extra = EXTRAS.get(module.split(".")[0])
    return f"pip install 'floop-robot[{extra}]'" if extra else None
