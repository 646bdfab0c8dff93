"""Pictures of a world, without OpenGL or a screen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from floop_envs.bullet import bullet

Image = NDArray[np.uint8]

_EYE, _LOOK_AT = (1.25, 0.75, 0.7), (0.4, 0.0, 0.12)


def picture(client: int, width: int = 320, height: int = 240) -> Image:
    """RGB picture of everything in a physics client, shape (height, width, 3)."""
    view = bullet.computeViewMatrix(_EYE, _LOOK_AT, (0.0, 0.0, 1.0), physicsClientId=client)
    lens = bullet.computeProjectionMatrixFOV(45.0, width / height, 0.1, 4.0, physicsClientId=client)
    _, _, rgba, _, _ = bullet.getCameraImage(
        width, height, view, lens, lightDirection=(1.0, 0.6, 2.0), shadow=1, renderer=bullet.ER_TINY_RENDERER,
        flags=bullet.ER_NO_SEGMENTATION_MASK, physicsClientId=client,
    )  # fmt: skip
    return np.asarray(rgba, np.uint8).reshape(height, width, 4)[:, :, :3].copy()
