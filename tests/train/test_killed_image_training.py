"""A training on images, killed at one stage after the other: every file is whole, and it goes on where it stood."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import pytest
from stable_baselines3 import SAC

from floop_robot.durable import files
from floop_robot.durable.files import TEMPORARY
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train import image_model
from floop_robot.train.recipe import read_recipe
from floop_robot.train.train import resume, train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import TrainResult
from floop_robot.train.train_progress import TrainProgress
from floop_robot.train.training_state import load_state
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).parents[2]
WITHIN = "within"
"""File that tells that the process stopped where it was to be killed."""
SHOWN_EVERY = 50
"""Steps between two lines of progress."""


def run(out: Path, *, goes_on: bool, pause_s: float, within: str, total_timesteps: int | None = None) -> None:
    """What the process does that is killed. It stops in the middle of the file `within`, or in that phase."""
    log, told = out.with_suffix(".log").open("a", buffering=1), set[int]()
    stop_within(within, told)

    def show(progress: TrainProgress) -> None:
        log.write(f"{progress.transitions}\n")
        told.add(progress.transitions)
        if progress.phase == within:
            stop_here(out)

    if goes_on:
        resume(out, show, total_timesteps=total_timesteps)
        return
    settings = TrainConfig(
        env="tests.support.odd_envs:ImprovingImage-v0",
        out=str(out),
        sac=SacSettings(net_arch=(8,), batch_size=4, utd_ratio=0.1),
        learning_starts=20,
        total_timesteps=50_000,
        final_episodes=3,
        eval_freq=100,
        n_eval_episodes=1,
        checkpoint_interval_s=pause_s,
    )
    train(settings, show, overwrite=True)


def stop_here(folder: Path) -> None:
    (folder / WITHIN).touch()
    signal.pause()


def stop_within(name: str, told: set[int]) -> None:
    """Stop when half of a new file of this name is written, an older one is there, and some steps were told."""
    real = files.replace_file_by

    def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
        def write_half(file: BinaryIO) -> None:
            whole = io.BytesIO()
            write(whole)
            file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
            file.flush()
            stop_here(path.parent)

        is_it = path.name == name and path.exists() and len(told) > 2
        real(path, write_half if is_it else write)

    files.replace_file_by = replace
    image_model.replace_file_by = replace  # type: ignore[attr-defined]


class Training:
    """The folder of the training, and the process that trains into it."""

    def __init__(self, out: Path) -> None:
        self.out, self._log = out, out.with_suffix(".log")

    @contextmanager
    def process(
        self, within: str = "", *, goes_on: bool = True, pause_s: float = 0.1, total_timesteps: int | None = None
    ) -> Iterator[None]:
        """A process that is killed at the end of the block."""
        self._log.write_text("")
        (self.out / WITHIN).unlink(missing_ok=True)
        code = (
            "from tests.train.test_killed_image_training import *\n"
            f"run(Path({str(self.out)!r}), goes_on={goes_on}, pause_s={pause_s}, within={within!r},"
            f" total_timesteps={total_timesteps})"
        )
        with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE) as process:
            try:
                wait_for(lambda: self.steps or process.poll() is not None, 120, "the first step")
                yield
                assert process.poll() is None, process.stderr.read().decode()  # type: ignore[union-attr]
            finally:
                process.kill()

    @property
    def steps(self) -> list[int]:
        """Those that the process told."""
        return [int(line) for line in self._log.read_text().split("\n")[:-1]]

    def wait_within(self) -> None:
        wait_for((self.out / WITHIN).exists, 120, "the stage")

    def saved_steps(self) -> int:
        return load_state(self.out / "training.state")[0].counters.transitions

    def temporary(self) -> list[str]:
        return [path.name.split(TEMPORARY)[0] for path in self.out.glob(f".*{TEMPORARY}")]

    def check_files(self) -> int:
        """Read every file; returns the steps after which the training goes on."""
        for name in ("model.zip", "best_model.zip"):
            with zipfile.ZipFile(self.out / name) as zipped:
                assert zipped.testzip() is None
            policy_acts(self.out / name)
        read_recipe(self.out / "config.yaml")
        head, names, *episodes, last = (self.out / "monitor.csv").read_text().split("\n")
        assert msgspec.json.decode(head[1:]) and names == "r,l,t" and last == ""
        assert all(re.fullmatch(r"-?[\d.]+,20,[\d.]+", episode) for episode in episodes)
        with np.load(self.out / "training.rows") as rows:
            counts = {len(rows[name]) for name in image_model.ROWS if name in rows}
        assert len(counts) == 1 and counts.pop() >= self.saved_steps() > 0
        assert not (self.out / "result.json").exists(), "it has not ended"
        return self.saved_steps()


def policy_acts(path: Path) -> None:
    action, _ = SAC.load(path, device="cpu").predict(np.zeros((36, 36, 3), np.uint8), deterministic=True)
    assert action.shape == (2,) and np.isfinite(action).all()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_image_training_outlives_kills_at_every_stage(tmp_path: Path) -> None:
    training = Training(tmp_path / "run")
    out = training.out
    with training.process(goes_on=False, pause_s=1e4):
        wait_for((out / "best_model.zip").exists, 120, "the first measurement")
    with pytest.raises(ConfigError, match=rf"there is no training to resume in {out} \(no training.state\)"):
        resume(out)
    policy_acts(out / "model.zip")

    with training.process(goes_on=False):
        for name in ("training.state", "best_model.zip"):
            wait_for((out / name).exists, 120, f"the first {name}")
        wait_for(lambda: training.saved_steps() > 2 * SHOWN_EVERY, 120, "a state of some steps")
    stood = training.check_files()
    for within in ("training.rows", "training.state", "model.zip", "best_model.zip"):
        with training.process(within):
            training.wait_within()
            first = training.steps[0]
        assert stood <= first <= stood + SHOWN_EVERY, "it went on where it stood"
        assert training.temporary() and training.temporary()[0].startswith(f".{within}."), "half a file"
        stood = training.check_files()

    left = set(training.temporary())
    with training.process():
        written = training.saved_steps()
        wait_for(lambda: training.saved_steps() > written, 120, "a newer state")
        written = training.saved_steps()
        wait_for(lambda: training.steps[-1] > written + SHOWN_EVERY, 120, "steps after it")
        assert stood <= training.steps[0] <= stood + SHOWN_EVERY
        assert left and not left & set(training.temporary()), "halves of killed processes are removed"
    stood = training.check_files()

    end = stood + 4 * SHOWN_EVERY
    with training.process("final scenarios", total_timesteps=end):
        training.wait_within()
    assert training.check_files() == end
    result = resume(out)
    assert result.transitions == end and result.ended == "its steps are used up" and training.steps[-1] == end
    assert msgspec.json.decode((out / "result.json").read_bytes(), type=TrainResult) == result
    policy_acts(Path(result.model))
    with pytest.raises(ConfigError, match=f"used up its steps after {end} steps"):
        resume(out)
