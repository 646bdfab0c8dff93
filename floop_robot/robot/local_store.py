"""The last good policy, kept on the robot's disk: a restarted robot acts without the fleet manager."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import SUFFIX, Bundle, VerifiedBundle, verify, write_atomic
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec


class StoredPolicy:
    """One bundle file, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"policy{SUFFIX}"

    def load(self, task: TaskSpec, ids: Ids, robot: str) -> VerifiedBundle | None:
        """The stored policy, verified like one from the network; None when there is no file.

        Raises what `verify` raises.
        """
        if not self.path.exists():
            return None
        return verify(Bundle.load(self.path), task, ids, where=robot)

    def store(self, blob: bytes) -> None:
        """Replace the file durably; raises `StorageError`."""
        write_atomic(self.path, blob)
