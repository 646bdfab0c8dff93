"""Clips and plots: what kind of file they are, how large, and what they show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from floop_envs.expert import Expert
from floop_robot.demo import clip
from floop_robot.demo.clip import record, save_clip, side_by_side
from floop_robot.demo.live_success import ObservedShift
from floop_robot.demo.plots import plot_run
from floop_robot.demo.report import DemoReport
from floop_robot.deploy.registry import History
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.errors import ConfigError, StorageError
from floop_robot.spec.tasks import get_task
from tests.support.blank_struct import blank
from tests.support.sample_history import SHIFT, recovered_history

TASK = "floop/Pick-v0"
Frames = list[np.ndarray]


@pytest.fixture(scope="module")
def frames() -> Frames:
    """One demonstration that succeeds."""
    [scenario] = evaluation_scenarios(TASK, None, (), 0, 1)
    return record(Expert(get_task(TASK).spec), scenario, "demonstration").frames


def test_the_last_frame_shows_the_outcome_in_color(frames: Frames) -> None:
    bars = [frame[: clip._BAR_PX].astype(int) for frame in (frames[0], frames[-1])]
    colored = [np.abs(bar[..., 1] - bar[..., 0]).max() > 60 for bar in bars]
    assert colored == [False, True]
    assert all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)


def test_a_gif_of_two_policies_is_small_and_ends_on_the_outcome(frames: Frames, tmp_path: Path) -> None:
    file = tmp_path / "new" / "clip.gif"
    both = side_by_side(frames, frames[:10])
    save_clip(both, file, 12.5)
    assert file.stat().st_size < 1_000_000
    with Image.open(file) as image:
        assert image.size == (2 * frames[0].shape[1], frames[0].shape[0])
        image.seek(image.n_frames - 1)
        last = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(last - both[-1]).mean() < 6.0  # few colors, the same picture


def test_the_shorter_clip_waits_on_its_last_frame(frames: Frames) -> None:
    width = frames[0].shape[1]
    both = side_by_side(frames, frames[:5])
    assert len(both) == len(frames)
    assert (both[-1][:, width:] == frames[4]).all()
    assert (both[-1][:, :width] == frames[-1]).all()


def test_a_strip_has_eight_frames(frames: Frames, tmp_path: Path) -> None:
    save_clip(frames, tmp_path / "strip.png", 12.5)
    with Image.open(tmp_path / "strip.png") as image:
        assert image.size == (8 * frames[0].shape[1], frames[0].shape[0])


def test_a_clip_that_cannot_be_written_is_one_line(frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use a name that ends in .gif, .mp4 or .png"):
        save_clip(frames, tmp_path / "clip.avi", 12.5)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"):
        save_clip(frames, tmp_path / "file" / "clip.gif", 12.5)


@pytest.mark.parametrize(
    ("history", "shift", "report"),
    [
        (recovered_history(), SHIFT, blank(DemoReport, recovered=True, tti_s=25.0, tti_apply_s=12.5)),
        (recovered_history(), SHIFT, blank(DemoReport, reason="no version was confirmed")),
        (blank(History), ObservedShift(), blank(DemoReport, reason="nothing happened", tti_s=1.0)),
    ],
)
def test_a_timeline_is_drawn_of_any_run(
    history: History, shift: ObservedShift, report: DemoReport, tmp_path: Path
) -> None:
    plot_run(history, report, shift, tmp_path / "timeline.png")
    with Image.open(tmp_path / "timeline.png") as image:
        assert image.size == (1100, 660)
        assert len(image.convert("P").getcolors()) > 5
