"""KeptPolicy: the last good bundle on the robot's own disk, so that it works without the fleet manager."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import SUFFIX, Bundle, Verified, verify, write_atomic
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec


class KeptPolicy:
    """One file, replaced whole."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"policy{SUFFIX}"

    def load(self, task: TaskSpec, ids: Ids, robot: str) -> Verified | None:
        """The kept policy, checked as if it came from the network; None without one. Raises what `verify` raises."""
        if not self.path.exists():
            return None
        return verify(Bundle.load(self.path), task, ids, where=robot)

    def keep(self, blob: bytes) -> None:
        """Replace the file durably; raises `StorageError`."""
        write_atomic(self.path, blob)
