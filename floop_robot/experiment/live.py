"""What the robots themselves achieved, from their own episode ends as the registry keeps them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from floop_robot.experiment.report import Rate
from floop_robot.processes.sim_robot import RESET_S
from floop_robot.registry import History, SeenEpisode
from floop_robot.spec.records import Outcome

RECENT = 12
"""Episodes of a robot that the screen's success rate looks back on."""


class RobotLive(msgspec.Struct, frozen=True, kw_only=True):
    """One robot's production episodes."""

    recent: Rate
    """The last `RECENT` ones."""
    last: str
    """One mark per recent episode, oldest first: ● success, ○ failure."""


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Live success, by robot and of all."""

    robots: dict[str, RobotLive]
    before: Rate
    shifted: dict[int, Rate]
    """Shifted work, by version."""

    @classmethod
    def of(cls, history: History, shift_ns: int) -> Live:
        """Count a history; `shift_ns` 0 while nothing was shifted."""
        production = [e for e in history.episodes if e.production]
        shifted = shifted_after(shift_ns)
        after = [e for e in production if shifted(e)]
        names = sorted({e.robot for e in production})
        return cls(
            robots={name: _robot([e for e in production if e.robot == name][-RECENT:]) for name in names},
            before=rate_of(e for e in production if not shifted(e)),
            shifted={v: rate_of(e for e in after if e.version == v) for v in sorted({e.version for e in after})},
        )


def shifted_after(shift_ns: int) -> Callable[[SeenEpisode], bool]:
    """Whether an episode was shifted work: laid out after the shift. 0 means that nothing was shifted yet."""

    def shifted(episode: SeenEpisode) -> bool:
        # An episode begins RESET_S after its work was laid out.
        laid_out_ns = episode.seen_ns - round((episode.duration_s + RESET_S) * 1e9)
        return bool(shift_ns) and laid_out_ns >= shift_ns

    return shifted


def rate_of(episodes: Iterable[SeenEpisode]) -> Rate:
    """Successes out of episodes."""
    outcomes = [e.outcome is Outcome.SUCCESS for e in episodes]
    return Rate(sum(outcomes), len(outcomes))


def _robot(episodes: list[SeenEpisode]) -> RobotLive:
    marks = "".join("●" if e.outcome is Outcome.SUCCESS else "○" for e in episodes)
    return RobotLive(recent=rate_of(episodes), last=marks)
