"""Clips: one simulated episode as pictures, alone or two policies side by side, as GIF, MP4 or PNG strip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from floop_envs.env import ArmEnv, make_env
from floop_envs.renderer import Image as Picture
from floop_robot.core import PolicyActor
from floop_robot.spec.errors import ConfigError, StorageError
from floop_robot.spec.scenario import Scenario

_BAR_PX = 20
_LAST_FRAME_TIMES = 12
"""The end is shown about a second longer than the rest."""


def record(actor: PolicyActor, scenario: Scenario, caption: str, robot: str = "panda") -> list[Picture]:
    """Frames of one episode of the actor's mean policy, one per policy step, each shape (height, width, 3)."""
    env = make_env(scenario.task, robot=robot)
    try:
        obs, _ = env.reset(options={"scenario": scenario})
        frames, done, info = [_captioned(env, caption)], False, {"is_success": False}
        while not done:
            obs, _, terminated, truncated, info = env.step(actor.mean(obs))
            frames.append(_captioned(env, caption))
            done = terminated or truncated
        verdict = "success" if info["is_success"] else "failure"
        frames[-1] = _captioned(env, f"{caption}: {verdict}")
        return frames
    finally:
        env.close()


def side_by_side(left: Sequence[Picture], right: Sequence[Picture]) -> list[Picture]:
    """Two clips side by side; the shorter one waits on its last frame."""
    count = max(len(left), len(right))
    return [
        np.concatenate([left[min(i, len(left) - 1)], right[min(i, len(right) - 1)]], axis=1) for i in range(count)
    ]


def save_clip(frames: Sequence[Picture], path: Path, rate_hz: float) -> None:
    """Write frames as `.gif`, `.mp4` or `.png` (a strip of eight); raises `ConfigError` for another suffix."""
    if path.suffix not in (".gif", ".png", ".mp4"):
        raise ConfigError(f"cannot write {path}: a clip is a .gif, .mp4 or .png file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".mp4":
            _save_mp4(frames, path, rate_hz)
        elif path.suffix == ".gif":
            shown = [*frames, *[frames[-1]] * _LAST_FRAME_TIMES]
            first, *rest = (Image.fromarray(f).quantize(96) for f in shown)
            first.save(path, save_all=True, append_images=rest, duration=round(1000 / rate_hz), loop=0)
        else:
            chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, 8).round().astype(int)]
            Image.fromarray(np.concatenate(chosen, axis=1)).save(path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; check folder and free space") from None


def _save_mp4(frames: Sequence[Picture], path: Path, rate_hz: float) -> None:
    import av  # an extra of its own: 35 MB of codecs that only .mp4 needs

    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=round(rate_hz))
        stream.height, stream.width = frames[0].shape[0] // 2 * 2, frames[0].shape[1] // 2 * 2
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame[: stream.height, : stream.width])):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def _captioned(env: ArmEnv, text: str) -> Picture:
    picture = env.world.picture()
    framed = np.full((picture.shape[0] + _BAR_PX, *picture.shape[1:]), 255, np.uint8)
    framed[_BAR_PX:] = picture
    image = Image.fromarray(framed)
    ImageDraw.Draw(image).text((6, 4), text, fill=(0, 0, 0))
    return np.asarray(image)
