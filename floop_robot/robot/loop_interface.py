"""Desk: where other threads ask a running `PolicyLoop` for something, and see what it does.

Calls and endings go in, and the loop acts on them in its next step; a view comes out in every step, and a report at the
end of every episode. Nothing here waits: the two sides share single references and a bounded queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.messages import Joints
from floop_robot.spec.records import EpisodeEnd, Outcome, WorkReport

MOST_REPORTS: Final = 16
"""Ends of episodes that wait for a reader: episodes last seconds, and a reader looks many times a second."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants one episode."""

    object_class: str = ""
    """Only if this class is perceived; empty means any."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants an episode to end now."""

    episode: int
    """The one meant: if another runs by then, nothing happens."""
    outcome: Outcome
    why: str


class EndReport(msgspec.Struct, frozen=True, kw_only=True):
    """An episode ended."""

    end: EpisodeEnd
    """As it was recorded, but for its `seq`."""
    interventions: int
    """Servo ticks of the episode that the limiter changed."""
    why: str
    """Why it was aborted or ended from outside; empty otherwise."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What the loop does in this very step."""

    episode: int = 0
    """The one that runs, or the next."""
    state: EpisodeState = EpisodeState.RESETTING
    missing: tuple[str, ...] = ()
    """What keeps an episode from starting, in words, the most pressing first; empty while one runs."""
    steps: int = 0
    elapsed_s: float = 0.0
    total_reward: float = 0.0
    interventions: int = 0
    work: WorkReport | None = None
    """What was perceived when the running episode began; None while none runs."""
    version: int = 0
    """Policy version that acts; 0 for none."""
    q_rad: Joints = ()
    """Newest joint positions; empty before the first robot state."""
    speed_rad_s: float = 0.0
    """Speed of the fastest joint."""
    gripper_width_m: float = 0.0
    robot_age_s: float = float("inf")
    """Age of the newest robot state."""
    safety_age_s: float = float("inf")
    """Age of the newest safety report."""
    estop: bool = False
    """The stop latch is set, as far as safety says."""


class Desk:
    """One per `PolicyLoop`.

    `ring` is called in the control thread, must not wait, and says that it is worth looking: another state or episode,
    other things missing, another policy, or an end.
    """

    def __init__(self, starts_by_itself: bool = True, ring: Callable[[], None] = lambda: None) -> None:
        self.starts_by_itself, self._ring = starts_by_itself, ring
        self._call: Call | None = None
        self._endings: deque[Ending] = deque(maxlen=1)  # the last word counts
        self._reports: deque[EndReport] = deque(maxlen=MOST_REPORTS)
        self.view = View()
        """The last step's."""

    # Any thread

    def call(self, call: Call) -> None:
        """The next episode may start, once; matters where episodes don't start by themselves."""
        self._call = call

    def withdraw(self) -> None:
        """A call that has not led to an episode yet is void."""
        self._call = None

    def end(self, ending: Ending) -> None:
        """End the episode that is meant in the next step."""
        self._endings.append(ending)

    def take_report(self) -> EndReport | None:
        """The oldest end that nobody took yet, or None. One reader."""
        return self._reports.popleft() if self._reports else None

    # The control thread

    def is_called(self, object_class: str) -> bool:
        """Whether an episode on an object of this class may start."""
        call = self._call
        return self.starts_by_itself or (call is not None and call.object_class in ("", object_class))

    def take_ending(self, episode: int) -> Ending | None:
        """What was asked for this running episode, if anything."""
        ending = self._endings.popleft() if self._endings else None
        return ending if ending is not None and ending.episode == episode else None

    def show(self, view: View) -> None:
        """A step was taken."""
        before, self.view = self.view, view
        if view.state is EpisodeState.RUNNING and before.state is not EpisodeState.RUNNING:
            self._call = None  # it has led to this episode
        seen = (before.episode, before.state, before.missing, before.version)
        if (view.episode, view.state, view.missing, view.version) != seen or self._reports:
            self._ring()

    def report(self, report: EndReport) -> None:
        """An episode ended."""
        self._reports.append(report)
