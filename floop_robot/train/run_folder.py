"""RunFolder: the folder of one training: its files, its lock, and that no other training's files are in it."""

from __future__ import annotations

import re
from pathlib import Path

from floop_robot.bundle import SUFFIX
from floop_robot.durable.files import TEMPORARY
from floop_robot.durable.locks import ExclusiveLock
from floop_robot.learn.checkpoint import SUFFIX as CHECKPOINT_SUFFIX
from floop_robot.spec.errors import ConfigError, StorageError

NUMBERED = Path("runs/train")
"""Trainings without a folder of their own get this one with a number: runs/train_1, runs/train_2 and so on."""
STATE, RESULT, SERIES, SUMMARY = "training.state", "result.json", "series.json", "seeds.json"
MODEL, BEST_MODEL, BUNDLE, CHECKPOINT = "model.zip", "best_model.zip", f"policy{SUFFIX}", f"policy{CHECKPOINT_SUFFIX}"


class RunFolder:
    """Where a training writes; nobody else trains into it meanwhile. Use it as a context."""

    def __init__(self, path: Path) -> None:
        """Lock the folder, which is made if needed; raises `StorageError`."""
        self.path = path
        self._lock = ExclusiveLock(path / ".lock", f"training folder {path}", "wait for it, or choose another --out")
        for left in path.glob(f".*{TEMPORARY}"):  # by a killed process; with images it may have gigabytes
            left.unlink(missing_ok=True)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def config(self) -> Path:
        """The effective configuration, as a recipe."""
        return self.path / "config.yaml"

    @property
    def model(self) -> Path:
        """The policy as a stable-baselines3 zip."""
        return self.path / MODEL

    @property
    def best_model(self) -> Path:
        """The best policy by evaluation so far, as a stable-baselines3 zip."""
        return self.path / BEST_MODEL

    @property
    def bundle(self) -> Path:
        """The policy bundle."""
        return self.path / BUNDLE

    @property
    def checkpoint(self) -> Path:
        """What a fleet's learner starts from."""
        return self.path / CHECKPOINT

    @property
    def result(self) -> Path:
        """The figures of the run, once it has ended."""
        return self.path / RESULT

    @property
    def monitor(self) -> Path:
        """Return and length of every training episode, as stable-baselines3's Monitor writes them."""
        return self.path / "monitor.csv"

    @property
    def state(self) -> Path:
        """What `--resume` goes on from."""
        return self.path / STATE

    @property
    def rows(self) -> Path:
        """Every row that was learned from, in order."""
        return self.path / "training.rows"

    def start(self, *, overwrite: bool) -> None:
        """Make room for a new run; raises `ConfigError` when the folder holds one that must not be lost."""
        found = _learned_files(self.path)
        if found and not overwrite:
            ways = ["--overwrite", "another --out"]
            if self.state in found or self.path / SERIES in found:
                ways.insert(0, f"--resume {self.path}")
            cure = f"use {', '.join(ways[:-1])} or {ways[-1]}"
            raise ConfigError(f"{self.path} already holds a training ({found[0].name}); {cure}")
        for path in (*found, self.config, self.monitor, self.rows):
            path.unlink(missing_ok=True)


def holds_training(path: Path) -> bool:
    """Whether something was learned in a folder."""
    return bool(_learned_files(path))


def _learned_files(path: Path) -> list[Path]:
    files = (path / name for name in (MODEL, BEST_MODEL, BUNDLE, CHECKPOINT, STATE, RESULT, SERIES, SUMMARY))
    return [file for file in files if file.exists()]


def resumed_folder(path: Path) -> RunFolder:
    """The folder of a training to go on with; raises `ConfigError` when it holds none, and `StorageError`."""
    if not (path / STATE).exists():
        inside = sorted(found.parent.name for found in path.glob(f"*/{STATE}"))
        cure = f"resume one in it: {', '.join(inside)}" if inside else "check the folder"
        raise ConfigError(f"there is no training to resume in {path} (no {STATE}); {cure}")
    return RunFolder(path)


def next_folder(numbered: Path = NUMBERED) -> Path:
    """Make the next numbered folder; raises `StorageError`."""
    try:
        numbered.parent.mkdir(parents=True, exist_ok=True)
        while True:
            taken = [_number(path, numbered) for path in numbered.parent.iterdir()]
            path = numbered.with_name(f"{numbered.name}_{max(taken, default=0) + 1}")
            try:
                path.mkdir()
            except FileExistsError:  # another training was faster
                continue
            return path
    except OSError as error:
        cure = "choose a writable folder"
        raise StorageError(f"cannot use training folder {numbered}_1: {error.strerror}; {cure}") from None


def _number(path: Path, numbered: Path) -> int:
    found = re.fullmatch(rf"{re.escape(numbered.name)}_(\d+)", path.name, re.ASCII)
    return int(found[1]) if found else 0
