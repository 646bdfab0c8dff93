"""Where a robot runs: tells two hosts with one robot name apart, also two copies of one disk image."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Final

from floop_robot.bundle.delivery import RobotHost
from floop_robot.spec.estop import printable

KERNEL_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""A number that the kernel draws at each boot. Files can be copied with their disk, this one not."""
MAX_NAME: Final = 300


def kernel_boot_id() -> str:
    """The number of the kernel's boot; empty where there is none."""
    try:
        return KERNEL_BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def host_identity(folder: Path) -> RobotHost:
    """The host that runs now, and a robot's folder on it; one process at a time has the folder (its spool is locked).

    A restart of the robot changes nothing. A boot of the host, or another folder, makes it another one.
    """
    boot, found = kernel_boot_id() or socket.gethostname(), folder.stat()
    name = printable(f"{socket.gethostname()}:{folder.resolve()}")
    digest = hashlib.sha256(f"{boot} {found.st_dev} {found.st_ino}".encode()).hexdigest()
    return RobotHost(id=digest[:32], name=name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…")
