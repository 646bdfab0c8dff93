"""KnownSecrets: which secret a name was first seen with. No other is believed from then on."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

from floop_robot.durable.files import write_atomic
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)


class KnownSecrets:
    """Digests of secrets in `folder`, a file for each name, so that a person can delete it; for one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}

    def refusal(self, name: str, secret: str) -> str:
        """Why whoever shows this has not this name; empty if it has, or is the first to have it.

        Whoever shows none is believed until a secret is known. On a full disk so is whoever shows one, until it can be
        stored. Raises `StorageError` when what is known cannot be read.
        """
        digest = hashlib.sha256(secret.encode()).hexdigest() if secret else ""
        known = self._known.get(name) or self._read(name)
        if not known and digest:
            try:
                write_atomic(self._folder / name, digest.encode())
            except StorageError as error:
                log.warning("%s", error)
                return ""
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
