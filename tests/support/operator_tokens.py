"""An operator and her token file."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHO, TOKEN = "ann", "3f9c-11"


def operators_file(folder: Path) -> str:
    """Path of a token file in `folder` in which `WHO` has `TOKEN`."""
    file = folder / "operators.yaml"
    file.write_text(f"tokens:\n  {WHO}: {hashlib.sha256(TOKEN.encode()).hexdigest()}\n")
    return str(file)
