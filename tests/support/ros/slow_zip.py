"""A stable-baselines3 zip that is loaded for as long as a test says: such a zip can run any code."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ros.fleet_rig import TASK
from tests.support.waiting import wait_for

LOAD_S = 60.0
"""Until its process has loaded torch, on busy cores."""


class Waits:
    """Made from its pickle, it is what was written into a pipe."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = pipe

    def __reduce__(self) -> tuple[Callable[[Path], bytes], tuple[Path]]:
        return Path.read_bytes, (self._pipe,)


@contextlib.contextmanager
def slow_zip(path: Path) -> Iterator[Callable[[], None]]:
    """A good zip at `path`; loading it ends with this block. Yields a function that waits until it is being loaded."""
    build: Any = pytest.importorskip(
        "floop_robot.learn.factory", reason="needs the extra `learn`", exc_type=ImportError
    )
    from floop_robot.learn.export import save_zip
    from floop_robot.learn.spaces import PolicySpace
    from floop_robot.spec.hyperparameters import SacSettings

    space = PolicySpace.of(TASK)
    save_zip(build.build_sac(space, SacSettings(net_arch=(16, 16)), 1)[0], space, path)
    pipe = path.with_suffix(".pipe")
    os.mkfifo(pipe)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    waits = {":type:": "bytes", ":serialized:": base64.b64encode(pickle.dumps(Waits(pipe))).decode()}
    files["data"] = json.dumps(json.loads(files["data"]) | {"_last_obs": waits}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    with contextlib.ExitStack() as opened:

        def end() -> int | None:
            with contextlib.suppress(OSError):  # nobody reads it yet
                return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            return None

        def until_it_is_being_loaded() -> None:
            opened.callback(os.close, wait_for(end, LOAD_S, "the zip being loaded"))

        yield until_it_is_being_loaded
