"""A fleet as the demo sees it: every process has reported; tests change what they are about."""

from __future__ import annotations

from typing import Any

import msgspec

from floop_robot.demo.snapshot import ExplorerView, RobotView, Snapshot
from floop_robot.deploy import FleetStatus
from floop_robot.deploy.messages import RobotStatus
from floop_robot.learn.learner import LearnerStatus
from floop_robot.services.explorer import ExplorerStats
from floop_robot.services.gate import GateStats
from floop_robot.services.policy import RobotStats
from floop_robot.services.safety import SafetyStats
from floop_robot.sim.sim_driver import DriverStats
from tests.support.blank_struct import blank

ROBOTS = ("robot_1", "robot_2")


def policy_stats(steps: int = 10, acked: int = 5, boot_id: str = "boot", **policy: Any) -> RobotStats:
    """One start of a policy process that took `steps` policy steps."""
    made = blank(RobotStats, boot_id=boot_id)
    return msgspec.structs.replace(
        made,
        policy=msgspec.structs.replace(made.policy, transitions=steps, **policy),
        stream=msgspec.structs.replace(
            made.stream, sender=msgspec.structs.replace(made.stream.sender, acked=acked, acked_seq=acked)
        ),
    )


def robot_view(name: str, *, steps: int = 10, acked: int = 5, episodes: int = 1) -> RobotView:
    return RobotView(
        name=name,
        policy=[policy_stats(steps, acked, episodes=episodes, successes=episodes, version=2)],
        safety=[blank(SafetyStats)],
        driver=[blank(DriverStats, simulated_s=10.0, elapsed_s=10.0)],
    )


def fleet_status(**changes: Any) -> FleetStatus:
    robots = tuple(blank(RobotStatus, robot=name, silent_s=0.1) for name in ROBOTS)
    return blank(FleetStatus, **{"production": 2, "epoch": 1, "robots": robots, **changes})


def snapshot(**changes: Any) -> Snapshot:
    """A fleet of two robots at work."""
    working: dict[str, Any] = {
        "fleet": fleet_status(),
        "robots": tuple(robot_view(name) for name in ROBOTS),
        "explorers": (ExplorerView("explorer_1", [blank(ExplorerStats, transitions=3)]),),
        "learner": blank(LearnerStatus, steps_per_s=100.0),
        "gate": blank(GateStats, incumbent=2, episodes=4),
        "learner_boots": 1,
        "gate_boots": 1,
        "fitter_boots": 1,
    }
    return Snapshot(**{**working, **changes})
