"""PeerSecrets: who may submit verdicts, and who may speak for a robot. Keys will take their place.

* **Site**: gate, learner and fleet manager read one file, which the first of them makes.
* **Robots**: each makes a secret at its first start and shows it with every message. The first one that a name comes
  with is believed from then on. Only its digest is kept, in a file for each robot, so that a person can delete it.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from floop_robot.durable.files import write_atomic
from floop_robot.durable.secret_file import shared_secret
from floop_robot.spec.errors import StorageError

FOLDER = "secrets"
"""Below the run directory."""


def site_secret(run_dir: Path) -> str:
    """The secret of the processes of one site; raises `StorageError`."""
    return shared_secret(run_dir / FOLDER / "site")


class PeerSecrets:
    """The secrets of one fleet; belongs to the fleet manager."""

    def __init__(self, run_dir: Path) -> None:
        """Raises `StorageError`."""
        self._site = site_secret(run_dir)
        self._folder = run_dir / FOLDER / "robots"
        self._known: dict[str, str] = {}

    def site_refusal(self, secret: str) -> str:
        """Why whoever shows this is not of this site, in one line; empty if it is."""
        if hmac.compare_digest(secret.encode(), self._site.encode()):
            return ""
        return (
            f"it came without this site's secret; a gate on another host needs a copy of {self._folder.parent / 'site'}"
        )

    def robot_refusal(self, robot: str, secret: str) -> str:
        """Why whoever shows this is not the robot of this name; empty if it is, or the first to have the name.

        Raises `StorageError`.
        """
        digest = hashlib.sha256(secret.encode()).hexdigest() if secret else ""
        known = self._known.get(robot) or self._read(robot)
        if not known and digest:
            write_atomic(self._folder / robot, digest.encode())
            known = digest
        if not known or hmac.compare_digest(known.encode(), digest.encode()):
            self._known[robot] = known
            return ""
        known = self._known[robot] = self._read(robot)  # a person may have deleted it
        if not known:
            return self.robot_refusal(robot, secret) if digest else ""
        return (
            f"it came without the secret of {robot}; if its folder was lost, delete {self._folder / robot} on the "
            "fleet manager's host"
        )

    def forget(self, robot: str) -> None:
        """The name is free again."""
        self._known.pop(robot, None)
        (self._folder / robot).unlink(missing_ok=True)

    def _read(self, robot: str) -> str:
        path = self._folder / robot
        try:
            return path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; check its permissions") from None
