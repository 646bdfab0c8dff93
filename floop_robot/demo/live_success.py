"""What the robots themselves achieved, from their own episode ends as the registry keeps them."""

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
"""Episodes of a robot that the screen's success rate looks back on."""


class ObservedShift(msgspec.Struct, frozen=True):
    """The shift of the world: when it was, and which episodes were laid out after it."""

    at_ns: int = 0
    """Wall clock; 0 before. For axes and elapsed time: which tasks were shifted, the drivers tell."""
    first: dict[str, int] = {}
    """By robot, the number of its first shifted episode."""

    def includes(self, episode: LiveEpisode) -> bool:
        """Whether an episode was shifted tasks, however late it was delivered. Numbers of a robot's episodes rise."""
        return episode.episode >= self.first.get(episode.robot, episode.episode + 1)


def read_shift(run_dir: Path, robots: Iterable[str], at_ns: int) -> ObservedShift:
    """What the simulated drivers, in all their boots, have counted so far of a shift at `at_ns`."""
    first = {}
    for robot in robots:
        boots = read_stats(run_dir, f"{robot}.sim_robot", DriverStats)
        if numbers := [boot.first_shifted for boot in boots if boot.first_shifted]:
            first[robot] = min(numbers)
    return ObservedShift(at_ns, first)


class RobotLiveSuccess(msgspec.Struct, frozen=True, kw_only=True):
    """One robot's production episodes."""

    recent: Rate
    """The last `RECENT_EPISODES` ones."""
    last: str
    """One mark per recent episode, oldest first: ● success, ○ failure."""


class LiveSuccess(msgspec.Struct, frozen=True, kw_only=True):
    """Live success, by robot and of all."""

    robots: dict[str, RobotLiveSuccess]
    before: Rate
    shifted: dict[int, Rate]
    """Shifted tasks, by version."""

    @classmethod
    def of(cls, history: History, shift: ObservedShift) -> LiveSuccess:
        """Count a history."""
        production = [e for e in history.episodes if e.production]
        after = [e for e in production if shift.includes(e)]
        names = sorted({e.robot for e in production})
        return cls(
            robots={name: _robot([e for e in production if e.robot == name][-RECENT_EPISODES:]) for name in names},
            before=rate_of(e for e in production if not shift.includes(e)),
            shifted={v: rate_of(e for e in after if e.version == v) for v in sorted({e.version for e in after})},
        )


def rate_of(episodes: Iterable[LiveEpisode]) -> Rate:
    """Successes out of episodes."""
    outcomes = [e.outcome is OutcomeCode.SUCCESS for e in episodes]
    return Rate(sum(outcomes), len(outcomes))


def _robot(episodes: list[LiveEpisode]) -> RobotLiveSuccess:
    marks = "".join("●" if e.outcome is OutcomeCode.SUCCESS else "○" for e in episodes)
    return RobotLiveSuccess(recent=rate_of(episodes), last=marks)
