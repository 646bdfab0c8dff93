"""LoopInterface: how other threads start and end episodes of a running `PolicyLoop`, and see its state.

The loop acts on requests in its next step. It publishes a view in every step and a report at the end of every episode.
Nothing here waits: the two sides share single references and a bounded queue.
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
"""Unread reports that are kept. Episodes last seconds; readers look many times a second."""


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Start one episode."""

    object_class: str = ""
    """Start only when this class is perceived; empty for any."""


class EndRequest(msgspec.Struct, frozen=True, kw_only=True):
    """End an episode now."""

    episode: int
    """Number of the episode to end; the request is ignored if another one runs."""
    outcome: OutcomeCode
    why: str


class EpisodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """An episode ended."""

    end: EpisodeEnd
    """As it was recorded, except its `seq`."""
    interventions: int
    """Servo ticks of the episode that were changed by the limiter."""
    why: str
    """Why it was aborted or ended by request; empty otherwise."""


class LoopView(msgspec.Struct, frozen=True, kw_only=True):
    """State of the loop in one step."""

    episode: int = 0
    """Number of the episode that runs, or of the next one."""
    state: EpisodeState = EpisodeState.RESETTING
    missing: tuple[str, ...] = ()
    """What prevents an episode from starting, most important first; empty while one runs."""
    steps: int = 0
    elapsed_s: float = 0.0
    total_reward: float = 0.0
    interventions: int = 0
    object: ObjectReport | None = None
    """The object perceived when the episode began; None while none runs."""
    version: int = 0
    """The policy version that acts; 0 for none."""
    q_rad: Joints = ()
    """Newest joint positions; empty before the first robot state."""
    target_q_rad: Joints = ()
    """The target that safety follows; empty before the first."""
    speed_rad_s: float = 0.0
    """Speed of the fastest joint."""
    gripper_width_m: float = 0.0
    robot_age_s: float = float("inf")
    """Age of the newest robot state."""
    safety_age_s: float = float("inf")
    """Age of the newest safety report."""
    estop: bool = False
    """The e-stop latch is set, as safety last reported."""
    start_required: bool = False
    """The arm was reset, and stands until it is started."""


class LoopInterface:
    """One per `PolicyLoop`.

    `on_change` is called when state, episode, policy or `missing` changed, or an episode ended. It is called in the
    control thread and must not wait.
    """

    def __init__(self, auto_start: bool = True, on_change: Callable[[], None] = lambda: None) -> None:
        self.auto_start, self._on_change = auto_start, on_change
        self._start_request: StartRequest | None = None
        self._end_requests: deque[EndRequest] = deque(maxlen=1)  # the last one counts
        self._reports: deque[EpisodeReport] = deque(maxlen=MAX_REPORTS)
        self.view = LoopView()
        """State in the last step."""

    # Any thread

    def request_start(self, request: StartRequest) -> None:
        """Allow one episode to start, where episodes don't start by themselves."""
        self._start_request = request

    def cancel_start(self) -> None:
        """Withdraw a start request that has not led to an episode yet."""
        self._start_request = None

    def request_end(self, request: EndRequest) -> None:
        """End an episode in the next step."""
        self._end_requests.append(request)

    def take_report(self) -> EpisodeReport | None:
        """The oldest unread report, or None. For one reader."""
        return self._reports.popleft() if self._reports else None

    # The control thread

    def is_requested(self, object_class: str) -> bool:
        """Whether an episode on an object of this class may start."""
        request = self._start_request
        return self.auto_start or (request is not None and request.object_class in ("", object_class))

    def take_end_request(self, episode: int) -> EndRequest | None:
        """The request to end this running episode, if there is one."""
        request = self._end_requests.popleft() if self._end_requests else None
        return request if request is not None and request.episode == episode else None

    def publish(self, view: LoopView) -> None:
        """Publish the state of a step."""
        before, self.view = self.view, view
        if view.state is EpisodeState.RUNNING and before.state is not EpisodeState.RUNNING:
            self._start_request = None  # it led to this episode
        old = (before.episode, before.state, before.missing, before.version)
        if (view.episode, view.state, view.missing, view.version) != old or self._reports:
            self._on_change()

    def report(self, report: EpisodeReport) -> None:
        """Queue the report of an episode that ended."""
        self._reports.append(report)
