"""`floop …` as a person runs it, in this process: its exit status, and what it wrote where."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.cli.main import main

PICK = baseline("floop/Pick-v0")


class CommandOutput(msgspec.Struct, frozen=True):
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that an error is."""
        assert self.status not in (0, None), f"no error at all: {self.out}"
        assert "Traceback" not in self.err
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("floop: "), lines
        return lines[0]


class Floop:
    """Call it with a command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *words: str | Path) -> CommandOutput:
        self._monkeypatch.setattr("floop_robot.cli.loading.SILENT_S", 600.0)  # however busy the machine is
        self._monkeypatch.setattr("sys.argv", ["floop", *map(str, words)])
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self._capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return CommandOutput(ended.value.code, out, err)


def damaged_bundles(folder: Path) -> dict[str, Path]:
    """The shipped policy in several bad ways, by what is wrong with it."""
    bundle = Bundle.load(PICK)
    name = min(bundle.arrays())
    nan, shape = ({n: a.copy() for n, a in bundle.arrays().items()} for _ in range(2))
    nan[name].flat[0] = np.nan
    shape[name] = np.ascontiguousarray(shape[name][:-1])
    paths = {kind: folder / f"{kind}.floop" for kind in ("truncated", "nan", "shape", "text")}
    paths["truncated"].write_bytes(PICK.read_bytes()[:-100])
    paths["text"].write_text("no bundle at all")
    for kind, arrays in (("nan", nan), ("shape", shape)):
        blob = safetensors.numpy.save(arrays)
        manifest = msgspec.structs.replace(bundle.manifest, sha256=hashlib.sha256(blob).hexdigest())
        Bundle(manifest, blob, bundle.metadata).save(paths[kind])
    return paths
