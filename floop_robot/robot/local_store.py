"""What a robot stores on its own disk of what the fleet manager told it, so that it works, or rests, without it."""

from __future__ import annotations

from pathlib import Path

from floop_robot.bundle import SUFFIX, Bundle, VerifiedBundle, verify, write_atomic
from floop_robot.spec.errors import StorageError
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec


class StoredPolicy:
    """The last good bundle: one file, replaced whole."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"policy{SUFFIX}"

    def load(self, task: TaskSpec, ids: Ids, robot: str) -> VerifiedBundle | None:
        """The stored policy, checked as if it came from the network; None without one. Raises what `verify` raises."""
        if not self.path.exists():
            return None
        return verify(Bundle.load(self.path), task, ids, where=robot)

    def store(self, blob: bytes) -> None:
        """Replace the file durably; raises `StorageError`."""
        write_atomic(self.path, blob)


class StoredDrain:
    """The command to start no episode, kept: a drained robot that is restarted must not begin to work."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "drained"

    def load(self) -> bool:
        """Whether the fleet manager's last word was to drain."""
        return self.path.exists()

    def store(self, drained: bool) -> None:
        """Remember durably; raises `StorageError`."""
        if drained:
            write_atomic(self.path, b"by command of the fleet manager\n")
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {self.path}: {error.strerror}; remove it by hand") from None
