"""The last good policy, kept on the robot's disk: a restarted robot acts without the fleet manager."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import SUFFIX, Bundle, VerifiedBundle, verify, write_atomic
from floop_robot.durable.newest_file import load_newest
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec


class StoredPolicy:
    """One bundle file, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"policy{SUFFIX}"

    def load(self, task: TaskSpec, ids: Ids, robot: str) -> VerifiedBundle | None:
        """The stored policy, verified like one from the network; None when there is no file.

        A damaged one is set aside, and the one that was stored before it is used. Raises what `verify` raises.
        """
        if not self.path.exists():
            return None
        return verify(load_newest(self.path, Bundle.load, BundleRefused), task, ids, where=robot)

    def store(self, blob: bytes) -> None:
        """Replace the file durably, and keep the one before it; raises `StorageError`."""
        write_atomic(self.path, blob, keep_previous=True)
