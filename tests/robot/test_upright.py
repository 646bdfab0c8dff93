"""Objects of any orientation as upright ones: the size as it stands, and the turn about the vertical."""

from __future__ import annotations

import itertools
import math

import pytest

from floop_robot.robot.transform import from_rpy
from floop_robot.robot.upright import as_upright, tilt_of

SIZE = (0.02, 0.05, 0.11)
NOWHERE = (0.0, 0.0, 0.0)


@pytest.mark.parametrize("yaw", [-3.0, -0.4, 0.0, 1.2])
@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.1, -0.1)])
def test_an_object_that_stands_keeps_its_size_and_its_yaw(yaw: float, tilt: tuple[float, float]) -> None:
    found = as_upright(from_rpy(NOWHERE, (*tilt, yaw)).rotation, SIZE)
    assert found.size_m == SIZE
    assert math.remainder(found.yaw_rad - yaw, math.tau) == pytest.approx(0.0, abs=1e-9)


QUARTER = math.pi / 2


@pytest.mark.parametrize("turns", list(itertools.product((0, 1, 2, 3), repeat=2)))
@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_a_box_on_any_side_fills_the_same_space(turns: tuple[int, int], yaw: float) -> None:
    """The extents of the turned box along the yawed axes are those reported."""
    turned = from_rpy(NOWHERE, (turns[0] * QUARTER, turns[1] * QUARTER, yaw))
    found = as_upright(turned.rotation, SIZE)
    back = from_rpy(NOWHERE, (0.0, 0.0, -found.yaw_rad)) @ turned
    corners = [
        (back @ from_rpy((x, y, z), NOWHERE)).position_m
        for x, y, z in itertools.product(*((-s / 2, s / 2) for s in SIZE))
    ]
    extents = [max(c[i] for c in corners) - min(c[i] for c in corners) for i in range(3)]
    assert extents == pytest.approx(found.size_m, abs=1e-9)


def test_the_tilt_is_that_of_the_models_own_axis() -> None:
    assert tilt_of(from_rpy(NOWHERE, (0.0, 0.0, 2.0)).rotation) == pytest.approx(0.0, abs=1e-6)
    assert tilt_of(from_rpy(NOWHERE, (QUARTER, 0.0, 2.0)).rotation) == pytest.approx(QUARTER)
    assert tilt_of(from_rpy(NOWHERE, (math.pi, 0.0, 2.0)).rotation) == pytest.approx(math.pi)
