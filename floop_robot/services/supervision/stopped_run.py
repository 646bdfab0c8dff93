"""Whether a fleet that ran on this machine has stopped: another one may answer on its ports."""

from __future__ import annotations

import socket
from pathlib import Path

from floop_robot.durable.locks import is_running
from floop_robot.services.fleet_manager import registry_path
from floop_robot.spec.config import FloopConfig


def stopped_reason(config: FloopConfig) -> str:
    """Say in one line that the fleet of this configuration ran here and has stopped; empty when it did not.

    A fleet elsewhere is not judged: its run directory is not on this machine.
    """
    ran_here = registry_path(config).exists() and _is_this_machine(config.endpoints.host)
    if not ran_here or is_running(Path(config.run_dir)):
        return ""
    return f"the fleet of {config.run_dir} has stopped; start it again, or give --config of the fleet that you mean"


def _is_this_machine(host: str) -> bool:
    """Whether an address is one of this machine's."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
