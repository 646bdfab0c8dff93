"""EpisodeStateMachine: when an episode starts, ends and is reset, on a simulated or a real robot.

It belongs to the policy process; the driver resets on request:

    RESETTING ── driver: object in place, arm at home ───────────▶ WAITING ── no blocker ───▶ RUNNING
        ▲  asks the driver for episode n, repeatedly                  │ driver resets again     │
        └──────────────────────────────────────────────────────────────┴── success, timeout, abort

* **Start**: the driver reports READY for the requested number, an object (and the task's tote) is perceived, safety
  runs without an e-stop, a policy is installed and the robot is not drained. Some robots also wait for a start request.
* **End**: the task's rules report success, or the steps run out (timeout). It is *aborted* when robot state or safety
  go silent, the e-stop is latched, the driver drops the episode, or the process shuts down.
* **Reset**: the driver prepares the next episode. A simulator lays out a scenario. A real driver homes the arm by its
  own interface (safety commands nothing while RESETTING) and reports READY once an object is in place.

It is pure: no clock, no sockets.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from floop_robot.robot.messages import Phase

DRAINED_OR_HELD: Final = "the robot is drained or on hold"
"""`DrainState.pause_reason` has the details."""
NO_OBJECT: Final = "no object is perceived"
NO_TOTE: Final = "no tote is perceived"


class EpisodeState(enum.StrEnum):
    """State of an episode."""

    RESETTING = "resetting"
    WAITING = "waiting"
    RUNNING = "running"


class StepDecision(enum.StrEnum):
    """What the policy loop does in this step."""

    WAIT = "wait"
    """Nothing; while RESETTING it asks the driver for the episode `number`."""
    START = "start"
    STEP = "step"
    ABORT = "abort"
    """End the running episode, now `number - 1`, as aborted."""


class EpisodeConditions(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy loop observes in one step."""

    driver_episode: int
    driver_phase: Phase
    is_recent: bool
    """Robot state and safety state are both recent."""
    state_fault: str = ""
    """Why robot states can't be used, in words."""
    is_stopped: bool
    """The e-stop is latched, or safety does not command the arm yet."""
    has_object: bool
    """An object is perceived."""
    has_tote: bool = True
    """A tote was perceived, or the task has none."""
    has_policy: bool
    accepts_episodes: bool
    """The robot is neither drained nor on hold. A running episode goes on to its end."""
    start_required: bool = False
    """The arm was reset, and stands until somebody starts it."""
    is_requested: bool = True
    """Episodes start by themselves, or this one was requested."""
    must_end: bool = False
    """The process shuts down: a running episode ends at once."""

    def faults(self, episode: int) -> tuple[str, ...]:
        """What aborts `episode` while it runs, and prevents its start; empty if nothing does."""
        checks = (
            (self.must_end, "the control loop is ending"),
            (not self.is_recent, self.state_fault or "robot state or safety report is too old"),
            (self.is_stopped, "the e-stop is latched, or safety does not command the arm yet"),
            (self.start_required, "the arm was reset and waits for a start: call start_episode or execute_task"),
            (self.driver_episode != episode, f"the driver serves episode {self.driver_episode}, not {episode}"),
            (
                self.driver_episode == episode and self.driver_phase is not Phase.READY,
                f"the driver is not ready for episode {episode}",
            ),
        )
        return tuple(text for applies, text in checks if applies)

    def start_blockers(self) -> tuple[str, ...]:
        """What prevents a start but does not abort a running episode."""
        checks = (
            (not self.accepts_episodes, DRAINED_OR_HELD),
            (not self.has_policy, "no policy has arrived"),
            (not self.has_object, NO_OBJECT),
            (not self.has_tote, NO_TOTE),
            (not self.is_requested, "no start was requested"),
        )
        return tuple(text for applies, text in checks if applies)


class EpisodeStateMachine:
    """Numbers episodes and decides their start and abort. `finish` ends one by the task's rules or by request."""

    def __init__(self, first_episode: int) -> None:
        self.number = first_episode
        """The episode that runs, or the next one."""
        self.state = EpisodeState.RESETTING

    def advance(self, conditions: EpisodeConditions) -> StepDecision:
        """Decide what to do in one policy step."""
        faults = conditions.faults(self.number)
        if self.state is EpisodeState.RUNNING:
            if not faults:
                return StepDecision.STEP
            self.finish()
            return StepDecision.ABORT
        is_ready = conditions.driver_episode == self.number and conditions.driver_phase is Phase.READY
        self.state = EpisodeState.WAITING if is_ready else EpisodeState.RESETTING
        if faults or conditions.start_blockers():
            return StepDecision.WAIT
        self.state = EpisodeState.RUNNING
        return StepDecision.START

    def finish(self) -> None:
        """End the running episode; the next one is requested."""
        if self.state is EpisodeState.RUNNING:
            self.number += 1
            self.state = EpisodeState.RESETTING
