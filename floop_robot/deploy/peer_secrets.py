"""PeerSecrets: who may submit verdicts, and who may speak for a robot. Keys will take their place.

* **Site**: gate, learner and fleet manager read one file, which the first of them makes.
* **Robots**: each makes a secret at its first start, and shows it with every message here and before its records at
  ingest. Either believes the first one that a name comes with from then on (`KnownSecrets`).
"""

from __future__ import annotations

import hmac
from pathlib import Path

from floop_robot.durable.known_secrets import KnownSecrets
from floop_robot.durable.secret_file import shared_secret

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
        self._site_path = run_dir / FOLDER / "site"
        self.robots = KnownSecrets(run_dir / FOLDER / "robots")

    def site_refusal(self, secret: str) -> str:
        """Why whoever shows this is not of this site, in one line; empty if it is."""
        if hmac.compare_digest(secret.encode(), self._site.encode()):
            return ""
        return f"it came without this site's secret; a gate on another host needs a copy of {self._site_path}"
