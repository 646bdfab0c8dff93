"""Clips: one simulated episode, or two policies side by side, as GIF, MP4 or PNG strip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from floop_envs.env import ArmEnv, make_env
from floop_envs.renderer import Image as Picture
from floop_robot.core import PolicyActor
from floop_robot.spec.calibration import NO_OFFSET, Calibration
from floop_robot.spec.errors import ConfigError, StorageError
from floop_robot.spec.scenario import Scenario

_BAR_PX = 20
_BLACK, _GREEN, _RED = (0, 0, 0), (0, 128, 0), (192, 0, 0)
_LAST_FRAME_TIMES = 12
"""The last frame is repeated this often, so that the end stays on screen for about a second."""
_GIF_COLORS = 64
"""Few enough for a small file; the simulator's pictures are flat colors."""


class Recording(NamedTuple):
    """An episode that was recorded."""

    frames: list[Picture]
    """One per policy step, and one before the first; shape (height, width, 3), uint8 RGB."""
    success: bool


def record(
    actor: PolicyActor,
    scenario: Scenario,
    caption: str,
    robot: str = "panda",
    calibration: Calibration | None = None,
) -> Recording:
    """Run one episode of the actor's mean policy. The last frame says whether it succeeded, too."""
    env = make_env(scenario.task, robot=robot)
    try:
        obs, _ = env.reset(
            options={"scenario": scenario, "correction_m": (calibration or {}).get(scenario.robot, NO_OFFSET)}
        )
        frames, done, info = [_captioned(env, caption)], False, {"is_success": False}
        while not done:
            obs, _, terminated, truncated, info = env.step(actor.mean(obs))
            frames.append(_captioned(env, caption))
            done = terminated or truncated
        verdict, color = ("success", _GREEN) if info["is_success"] else ("failure", _RED)
        frames[-1] = _captioned(env, f"{caption}: {verdict}", color)
        return Recording(frames, bool(info["is_success"]))
    finally:
        env.close()


def side_by_side(left: Sequence[Picture], right: Sequence[Picture]) -> list[Picture]:
    """Put two clips side by side; the shorter one stops at its last frame."""
    count = max(len(left), len(right))
    return [np.concatenate([left[min(i, len(left) - 1)], right[min(i, len(right) - 1)]], axis=1) for i in range(count)]


def save_clip(frames: Sequence[Picture], path: Path, rate_hz: float) -> None:
    """Write frames as `.gif`, `.mp4` or `.png` (a strip of eight); raises `ConfigError` for another suffix."""
    if path.suffix not in (".gif", ".png", ".mp4"):
        raise ConfigError(f"cannot write {path}: unknown kind of clip; use a name that ends in .gif, .mp4 or .png")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mp4":
            _save_mp4(frames, path, rate_hz)
        elif path.suffix == ".gif":
            _save_gif(frames, path, rate_hz)
        else:
            chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, 8).round().astype(int)]
            Image.fromarray(np.concatenate(chosen, axis=1)).save(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; check folder and free space") from None


def _save_gif(frames: Sequence[Picture], path: Path, rate_hz: float) -> None:
    # One palette for all frames: GIF then stores only what moves.
    palette = Image.fromarray(np.concatenate([frames[len(frames) // 2], frames[-1]])).quantize(_GIF_COLORS)
    shown = [*frames, *[frames[-1]] * _LAST_FRAME_TIMES]
    first, *rest = (Image.fromarray(f).quantize(palette=palette, dither=Image.Dither.NONE) for f in shown)
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / rate_hz), loop=0)


def _save_mp4(frames: Sequence[Picture], path: Path, rate_hz: float) -> None:
    import av  # only .mp4 needs these 35 MB of codecs: extra `video`

    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=round(rate_hz))
        stream.height, stream.width = frames[0].shape[0] // 2 * 2, frames[0].shape[1] // 2 * 2
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame[: stream.height, : stream.width])):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _captioned(env: ArmEnv, text: str, color: tuple[int, int, int] = _BLACK) -> Picture:
    picture = env.world.picture()
    framed = np.full((picture.shape[0] + _BAR_PX, *picture.shape[1:]), 255, np.uint8)
    framed[_BAR_PX:] = picture
    image = Image.fromarray(framed)
    ImageDraw.Draw(image).text((6, 4), text, fill=color)
    return np.asarray(image)
