"""Layouts: indices, clipping and normalization come from one place."""

from __future__ import annotations

import numpy as np

from floop_robot.spec.layout import Field, Layout

LAYOUT = Layout(
    (
        Field(name="position", size=3, unit="m", frame="base", low=-1, high=1, offset=0.5, scale=0.2),
        Field(name="width", size=1, unit="m", low=0, high=0.08, scale=0.08),
    )
)


def test_fields_stand_in_order() -> None:
    assert LAYOUT.size == 4
    assert LAYOUT.slices == {"position": slice(0, 3), "width": slice(3, 4)}
    assert LAYOUT.offset.tolist() == [0.5, 0.5, 0.5, 0.0]


def test_pack_clips_and_leaves_missing_parts_zero() -> None:
    np.testing.assert_array_equal(LAYOUT.pack(position=(0.1, 5.0, -5.0)), np.float32([0.1, 1.0, -1.0, 0.0]))
