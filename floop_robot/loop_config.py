"""What a run of `floop_robot/loop.py` is given, and what it tells."""

from __future__ import annotations

import math

import msgspec

from floop_robot.bundle import Bundle
from floop_robot.deploy.tti import NoImprovement, TimeToImprovement
from floop_robot.explore.explorer import ANALOGY_SHARE
from floop_robot.learn.status import LearnerStatus
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.verdict import Verdict

ROBOTS_CORES = 0.55
"""Cores of a fleet that four simulated robots over ROS (0.46), ingest (0.05) and fleet manager keep busy."""


class LoopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run of the loop."""

    fleet: FloopConfig = FloopConfig()
    """The fleet that is simulated; its `run_dir` and ports are not used."""
    shift: str = ""
    """How the world changes (`floop_envs.shifts`); empty: not at all."""
    shift_robots: tuple[str, ...] = ()
    """Robots whose world changes; () for all."""
    shift_at_s: int = 5
    """Virtual second at which it changes."""
    seconds: int = 60
    """Virtual seconds of the whole run."""
    robot_rows: int = 50
    """Transitions of all robots together in a virtual second."""
    explorer_rows: int = 300
    """Transitions of explorers in a virtual second, while computing takes no time."""
    cores: float = 0.0
    """Cores that the fleet has; computing takes the time of these. 0: it takes none, and runs repeat exactly."""
    speed: float = 1.0
    """How many times quicker these cores compute than this machine, where that is slower than what it stands for."""
    analogy_share: float = ANALOGY_SHARE
    """Share of explorers' episodes on failing tasks that are made by analogy, at first."""
    fit: bool = True
    """Whether the simulator is fitted to robots on which known tasks fail."""
    until_improved: bool = True
    """Whether the run ends when live success is confirmed after the shift."""

    def __post_init__(self) -> None:
        if self.cores and not ROBOTS_CORES < self.cores < math.inf:
            raise ValueError(
                f"cores is {self.cores:g}, but robots alone take {ROBOTS_CORES:g}; use more, or 0 for none"
            )
        if not 0.0 < self.speed < math.inf:
            raise ValueError(f"speed is {self.speed:g}; it must be above 0")


class LoopProgress(msgspec.Struct, frozen=True, kw_only=True):
    """What a virtual second brought."""

    second: int
    version: int
    """In production."""
    robot_successes: int
    robot_episodes: int
    failing: tuple[str, ...]
    learner: LearnerStatus
    candidate: Bundle | None
    """The last that was offered to the gate in this second."""
    verdict: Verdict | None
    """The last of this second."""


class LoopResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    bundle: Bundle
    """In production at the end."""
    seconds: int
    accepted: int
    rejected: int
    inconclusive: int
    learner: LearnerStatus
    tti: TimeToImprovement | NoImprovement
