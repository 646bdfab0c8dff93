"""KnownSecrets: which secret a name was first seen with. No other is believed from then on."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from floop_robot.durable.files import write_atomic
from floop_robot.spec.errors import StorageError


class KnownSecrets:
    """Digests of secrets in `folder`, a file for each name, so that a person can delete it; for one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}

    def refusal(self, name: str, secret: str) -> str:
        """Why whoever shows this has not this name; empty if it has, or is the first to have it.

        Whoever shows none is believed until a secret is known. Raises `StorageError`.
        """
        digest = hashlib.sha256(secret.encode()).hexdigest() if secret else ""
        known = self._known.get(name) or self._read(name)
        if not known and digest:
            write_atomic(self._folder / name, digest.encode())
            known = digest
        if not known or hmac.compare_digest(known.encode(), digest.encode()):
            self._known[name] = known
            return ""
        known = self._known[name] = self._read(name)  # a person may have deleted it
        if not known:
            return self.refusal(name, secret) if digest else ""
        return (
            f"it came without the secret of {name}; if its folder was lost, delete {self._folder / name} on the host "
            "that refuses it"
        )

    def _read(self, name: str) -> str:
        path = self._folder / name
        try:
            return path.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}; check its permissions") from None
