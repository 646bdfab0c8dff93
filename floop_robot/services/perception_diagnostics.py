"""What a robot's process reports of its perception."""

from __future__ import annotations

import math

from floop_robot.robot.perception import PerceptionReport
from floop_robot.services.diagnostics import OK, WARN, DiagnosticItem


def perception_diagnostics(report: PerceptionReport) -> DiagnosticItem:
    """One line: what is refused and why, or that the object lies on its side."""
    tilt_deg = math.degrees(report.tilt_rad)
    text = f"the object is tilted by {tilt_deg:.0f} degrees: its size is taken as it stands" if report.is_tilted else ""
    return DiagnosticItem(
        "perception",
        WARN if report.problem or text else OK,
        report.problem or text or (f"objects are seen in {report.frame}" if report.frame else "no object was seen yet"),
        {
            "frame": report.frame,
            "refused": report.refused,
            "refused_by_topic": report.by_topic,
            "tilt_deg": f"{tilt_deg:.0f}",
        },
    )
