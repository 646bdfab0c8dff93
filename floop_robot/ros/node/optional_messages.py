"""Messages that not every ROS installation has: used where they are there, named with their package where not."""

from __future__ import annotations

import importlib
import os
from typing import Any


def find_message(package: str, name: str) -> Any | None:
    """The class `package/msg/name`; None where the package is not installed."""
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == package:
            return None
        raise


def how_to_install(package: str) -> str:
    """What to do about a missing package, in a few words."""
    distribution = os.environ.get("ROS_DISTRO", "$ROS_DISTRO")
    return f"apt install ros-{distribution}-{package.replace('_', '-')}"
