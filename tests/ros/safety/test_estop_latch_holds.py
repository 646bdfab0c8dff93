"""Nothing that anybody does to a stopped robot makes it move, but its reset."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)

from tests.support.ros.whole_robot import WholeRobot


def test_restart_push_rollback_and_activation_reset_no_stop(tmp_path: Path, domain: int) -> None:
    with WholeRobot(tmp_path / "run", domain) as robot:
        robot.stop()
        for i, deed in enumerate(("push", "rollback", "activate", "restart", "restart", "push")):
            robot.do(deed, i)
            assert not robot.moved(), deed
        assert robot.other_modes() == set()
        robot.release()
