"""Messages and actions that not every ROS installation has: used where they are, named with their package where not."""

from __future__ import annotations

import importlib
import os
from typing import Any

from floop_robot.spec.errors import ConfigError


def find_message(package: str, name: str) -> Any | None:
    """The class `package/msg/name`; None where the package is not installed."""
    return _find(package, "msg", name)


def require_action(package: str, name: str, who: str) -> Any:
    """The class `package/action/name`, which `who` (a field of a description) needs; raises `ConfigError`."""
    found = _find(package, "action", name)
    if found is None:
        raise ConfigError(f"{who} needs {package}/action/{name}, which is not installed; {how_to_install(package)}")
    return found


def _find(package: str, kind: str, name: str) -> Any | None:
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name, None)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == package:
            return None
        raise


def how_to_install(package: str) -> str:
    """What to do about a missing package, in a few words."""
    distribution = os.environ.get("ROS_DISTRO", "$ROS_DISTRO")
    return f"apt install ros-{distribution}-{package.replace('_', '-')}"
