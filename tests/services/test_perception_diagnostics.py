"""What is wrong with perception is one line on the diagnostics screen."""

from __future__ import annotations

import pytest

from floop_robot.robot.perception import PerceptionReport
from floop_robot.services.diagnostics import OK, WARN
from floop_robot.services.perception_diagnostics import perception_diagnostics


@pytest.mark.parametrize(
    ("report", "level", "words"),
    [
        (PerceptionReport(), OK, "no object was seen yet"),
        (PerceptionReport(frame="camera", tilt_rad=0.1), OK, "objects are seen in camera"),
        (PerceptionReport(frame="camera", tilt_rad=1.5708), WARN, "tilted by 90 degrees"),
        (PerceptionReport(problem="object_pose is refused: …", refused=3), WARN, "object_pose is refused: …"),
    ],
)
def test_the_worst_thing_is_said(report: PerceptionReport, level: object, words: str) -> None:
    item = perception_diagnostics(report)
    assert item.level is level and words in item.message
    assert item.values["refused"] == report.refused
