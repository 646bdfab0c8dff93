"""OperatorTokens: who may reset an e-stop or change what a fleet runs. A file of names and hashed tokens.

    tokens:
      ann: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

Each value is the SHA-256, in hex, of that person's token. Tokens must be random (`openssl rand -hex 16`), because weak
ones can be guessed from their hash. Tokens travel unencrypted: use them on a trusted network only.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Annotated, Final

import msgspec

from floop_robot.spec.errors import FloopError
from floop_robot.spec.yaml_file import read_yaml

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


NO_FILE: Final = "there is no operators' file, so nobody is allowed; set `operators` in the configuration"


class TokenFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    tokens: dict[str, Sha256]
    """SHA-256 of each operator's token, by name."""


class OperatorTokens:
    """Checks `who` and `token` of a call. Without a file any name is accepted, unless tokens are `required`.

    The file is read for every call, so that a removed operator is refused at once. Calls are rare.
    """

    def __init__(self, path: Path | None, *, required: bool = False) -> None:
        """`path` None: there is no file. Raises `ConfigError` when the file can't be used."""
        self._path, self._required = path, required
        self._read()

    @property
    def needs_token(self) -> bool:
        """Whether there is a token file."""
        return self._path is not None

    def refusal(self, who: str, token: str) -> str:
        """Why this call is refused, in one line; empty when it is allowed."""
        if not who.strip():
            return "say who asks: the field `who` is empty"
        if self._path is None:
            return NO_FILE if self._required else ""
        try:
            known = self._read().get(who, "")
        except FloopError as error:
            return f"no token can be checked: {error}"
        given = hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
        if not known or not hmac.compare_digest(known, given):
            return f"{who!r} gave no valid operator token; see {self._path}"
        return ""

    def _read(self) -> dict[str, str]:
        return read_yaml(self._path, TokenFile).tokens if self._path is not None else {}
