"""What a file is that is no bundle, and what to give instead: people push what a training left."""

from __future__ import annotations

import io
import re
import zipfile
from typing import IO

SUFFIX = ".floop"
GIVE_BUNDLE = f"give a {SUFFIX} file, as `floop train` leaves one"
GIVE_MODEL = f"{GIVE_BUNDLE}, or with --trust the zip that stable-baselines3's `model.save` writes"
_WEIGHTS = f"weights alone do not say what they expect; {GIVE_MODEL}"
_SB3_FILES = {"data", "policy.pth"}
"""What every model has that stable-baselines3 saves."""
_SB2_FILES = {"data", "parameter_list"}
_BEGINNINGS = (
    (re.compile(rb"\x95\xaefloop-bundle-"), "a floop bundle; push it as one (in a service call: bundle_path)"),
    (re.compile(rb"\x89PNG|GIF8|\xff\xd8\xff"), "a picture"),
    (re.compile(rb"\x93NUMPY"), "a NumPy array"),
    (re.compile(rb"\x80[\x02-\x05]"), f"a pickle, such as an old PyTorch file; floop reads none, {GIVE_MODEL}"),
    (re.compile(rb"\x89HDF\r\n"), f"an HDF5 file; {_WEIGHTS}"),
    (re.compile(rb".{7}\x00\{", re.DOTALL), f"a safetensors file; {_WEIGHTS}"),
    (re.compile(rb"\x08[\x01-\x20][\x12\x3a]"), f"an ONNX model; {_WEIGHTS}"),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd"), "a compressed file"),
    (re.compile(rb"SQLite format 3"), "an SQLite database"),
)
"""How files of other kinds begin. A safetensors file: the length of its header in eight bytes, then JSON."""
_YAML = re.compile(rb"(?:\s*#[^\n]*\n|\s*\n|---[^\n]*\n)*[ \t]*[\w.\"'-]+[ \t]*:(?:[ \t\r\n]|$)")
_JSON = re.compile(rb"\s*[{\[]")


def kind_of(blob: bytes | memoryview) -> str:
    """What bytes are, in words, and after a semicolon what to give instead."""
    blob = bytes(blob)
    begin = blob[:512]
    if begin.startswith(b"PK"):
        found = kind_of_zip(io.BytesIO(blob))
    elif not begin:
        found = "empty"
    else:
        found = next((kind for pattern, kind in _BEGINNINGS if pattern.match(begin)), "") or _text_kind(begin)
    return found if "; " in found else f"{found}; {GIVE_BUNDLE}"


def _text_kind(begin: bytes) -> str:
    if min(begin) < ord("\t"):  # no text has the characters below it
        return "a file of another kind"
    return "a YAML text" if _YAML.match(begin) else "a JSON text" if _JSON.match(begin) else "a text"


def is_sb3_zip(file: IO[bytes]) -> bool:
    """Whether a zip holds a model that stable-baselines3 saved; nothing in it is run."""
    return _names(file) >= _SB3_FILES


def kind_of_zip(file: IO[bytes]) -> str:
    """What a zip is, as `kind_of`."""
    names = _names(file)
    if not names:
        return f"a damaged or empty zip file; {GIVE_MODEL}"
    if names >= _SB3_FILES:
        return "a stable-baselines3 zip; if you trust it, give --trust (in a service call: sb3_zip_path)"
    if names >= _SB2_FILES:
        return "a zip of stable-baselines 2, the predecessor of stable-baselines3; train it again with the latter"
    if any(name.endswith("data.pkl") for name in names):
        return f"a PyTorch file; {_WEIGHTS}"
    shown = ", ".join(sorted(names)[:3])
    return f"a zip file without a stable-baselines3 model (it holds {shown}); {GIVE_MODEL}"


def _names(file: IO[bytes]) -> set[str]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {re.sub(r"[^ -~]", "?", name)[:60] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return set()
