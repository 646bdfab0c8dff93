"""LoopInterface: where other threads ask a running `PolicyLoop` for something, and see what it does.

Start and end requests go in, and the loop acts on them in its next step; a view comes out in every step, and a report at the
end of every episode. Nothing here waits: the two sides share single references and a bounded queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.messages import Joints
from floop_robot.spec.records import EpisodeEnd, ObjectReport, OutcomeCode

MAX_REPORTS: Final = 16
"""Ends of episodes that wait for a reader: episodes last seconds, and a reader looks many times a second."""


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants one episode."""

    object_class: str = ""
    """Only if this class is perceived; empty means any."""


class EndRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants an episode to end now."""

    episode: int
    """The one meant: if another runs by then, nothing happens."""
    outcome: OutcomeCode
    why: str


class EpisodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """An episode ended."""

    end: EpisodeEnd
    """As it was recorded, but for its `seq`."""
    interventions: int
    """Servo ticks of the episode that the limiter changed."""
    why: str
    """Why it was aborted or ended from outside; empty otherwise."""


class LoopView(msgspec.Struct, frozen=True, kw_only=True):
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
    work: ObjectReport | None = None
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


class LoopInterface:
    """One per `PolicyLoop`.

    `on_change` is called in the control thread, must not wait, and says that it is worth looking: another state or episode,
    other things missing, another policy, or an end.
    """

    def __init__(self, auto_start: bool = True, on_change: Callable[[], None] = lambda: None) -> None:
        self.auto_start, self._on_change = auto_start, on_change
        self._start_request: StartRequest | None = None
        self._end_requests: deque[EndRequest] = deque(maxlen=1)  # the last word counts
        self._reports: deque[EpisodeReport] = deque(maxlen=MAX_REPORTS)
        self.view = LoopView()
        """The last step's."""

    # Any thread

    def request_start(self, request: StartRequest) -> None:
        """The next episode may start, once; matters where episodes don't start by themselves."""
        self._start_request = request

    def cancel_start(self) -> None:
        """A start request that has not led to an episode yet is void."""
        self._start_request = None

    def request_end(self, request: EndRequest) -> None:
        """End the episode that is meant in the next step."""
        self._end_requests.append(request)

    def take_report(self) -> EpisodeReport | None:
        """The oldest end that nobody took yet, or None. One reader."""
        return self._reports.popleft() if self._reports else None

    # The control thread

    def is_requested(self, object_class: str) -> bool:
        """Whether an episode on an object of this class may start."""
        request = self._start_request
        return self.auto_start or (request is not None and request.object_class in ("", object_class))

    def take_end_request(self, episode: int) -> EndRequest | None:
        """What was asked for this running episode, if anything."""
        request = self._end_requests.popleft() if self._end_requests else None
        return request if request is not None and request.episode == episode else None

    def publish(self, view: LoopView) -> None:
        """A step was taken."""
        before, self.view = self.view, view
        if view.state is EpisodeState.RUNNING and before.state is not EpisodeState.RUNNING:
            self._start_request = None  # it has led to this episode
        seen = (before.episode, before.state, before.missing, before.version)
        if (view.episode, view.state, view.missing, view.version) != seen or self._reports:
            self._on_change()

    def report(self, report: EpisodeReport) -> None:
        """An episode ended."""
        self._reports.append(report)
