"""Text files that options name."""

from __future__ import annotations

from pathlib import Path

from floop_robot.spec.errors import ConfigError


def read_text(path: Path, cure: str) -> str:
    """The text in a file; raises `ConfigError`, which ends with what to do (`cure`)."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not text"
        raise ConfigError(f"cannot read {path}: {reason}; {cure}") from None
