"""LiveSuccess: success of the robots, counted from the episode ends in the registry."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from floop_robot.demo.report import Rate
from floop_robot.deploy.registry import History, LiveEpisode
from floop_robot.services.supervision.stats_file import read_stats
from floop_robot.sim.sim_driver import DriverStats
from floop_robot.spec.records import OutcomeCode

RECENT_EPISODES = 12
"""The screen shows this many of a robot's last episodes."""


class ObservedShift(msgspec.Struct, frozen=True):
    """When the world shifted, and which episodes came after it."""

    at_ns: int = 0
    """Wall clock; 0 before the shift. Only for axes and elapsed time: `first` decides which episodes are shifted."""
    first: dict[str, int] = {}
    """Number of each robot's first shifted episode, as its simulated driver counted."""

    def includes(self, episode: LiveEpisode) -> bool:
        """Whether an episode was a shifted task, however late it was delivered. A robot's episode numbers only grow."""
        return episode.episode >= self.first.get(episode.robot, episode.episode + 1)


def read_shift(run_dir: Path, robots: Iterable[str], at_ns: int) -> ObservedShift:
    """Read from the drivers' stats, over all their restarts, which episodes a shift at `at_ns` has reached."""
    first = {}
    for robot in robots:
        boots = read_stats(run_dir, f"{robot}.sim_robot", DriverStats)
        if numbers := [boot.first_shifted for boot in boots if boot.first_shifted]:
            first[robot] = min(numbers)
    return ObservedShift(at_ns, first)


class RobotLiveSuccess(msgspec.Struct, frozen=True, kw_only=True):
    """Production episodes of one robot."""

    recent: Rate
    """Success in the last `RECENT_EPISODES` episodes."""
    last: str
    """One mark for each of them, oldest first: ● success, ○ failure."""


class LiveSuccess(msgspec.Struct, frozen=True, kw_only=True):
    """Live success of each robot and of the fleet."""

    robots: dict[str, RobotLiveSuccess]
    before: Rate
    """Known tasks, all versions."""
    shifted: dict[int, Rate]
    """Shifted tasks, by policy version."""

    @classmethod
    def of(cls, history: History, shift: ObservedShift) -> LiveSuccess:
        """Count the production episodes of a history."""
        production = [e for e in history.episodes if e.production]
        after = [e for e in production if shift.includes(e)]
        names = sorted({e.robot for e in production})
        return cls(
            robots={name: _robot([e for e in production if e.robot == name][-RECENT_EPISODES:]) for name in names},
            before=rate_of(e for e in production if not shift.includes(e)),
            shifted={v: rate_of(e for e in after if e.version == v) for v in sorted({e.version for e in after})},
        )


def rate_of(episodes: Iterable[LiveEpisode]) -> Rate:
    """Count successes and episodes."""
    outcomes = [e.outcome is OutcomeCode.SUCCESS for e in episodes]
    return Rate(sum(outcomes), len(outcomes))


def _robot(episodes: list[LiveEpisode]) -> RobotLiveSuccess:
    marks = "".join("●" if e.outcome is OutcomeCode.SUCCESS else "○" for e in episodes)
    return RobotLiveSuccess(recent=rate_of(episodes), last=marks)
