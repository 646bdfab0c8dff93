"""EpisodeMachine: who starts, ends and resets an episode, on a simulated and on a real robot.

The policy process owns it, and the driver answers:

    RESETTING ── driver: this episode is laid out, arm at home ──▶ WAITING ── all is well ──▶ RUNNING
        ▲  the driver is asked for episode n, again and again          │ driver lost it          │
        └──────────────────────────────────────────────────────────────┴── success, timeout, abort

* **Start**: the policy, as soon as the driver says READY for the asked-for number, perception sees work, safety is up
  and not stopped, a policy is installed, and work is wanted (not drained).
* **End**: the policy, when the task's rules say so (success) or steps run out (timeout); or *abort*, when robot state
  or safety go silent, the stop is latched, the driver gives the episode up, or the process shuts down.
* **Reset**: the driver, on request. A simulator lays out the next scenario. A real robot's driver homes the arm (by its
  own interface; safety passes nothing while RESETTING) and says READY once work is in place, be it by a feeder, a
  sensor or a person with a button.

Pure: no clock, no sockets.
"""

from __future__ import annotations

import enum

import msgspec

from floop_robot.robot.messages import Phase


class EpisodeState(enum.StrEnum):
    """Where an episode stands."""

    RESETTING = "resetting"
    WAITING = "waiting"
    RUNNING = "running"


class Move(enum.StrEnum):
    """What the policy loop has to do in this step."""

    WAIT = "wait"
    """Nothing; while RESETTING, the driver is asked for the episode `number`."""
    START = "start"
    STEP = "step"
    ABORT = "abort"
    """End the episode `number - 1`, which was running, as aborted."""


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy loop sees in one step."""

    driver_episode: int
    driver_phase: Phase
    is_fresh: bool
    """Robot state and safety state are both recent."""
    is_stopped: bool
    """The stop is latched, or safety has not taken over the arm yet."""
    has_work: bool
    """Perception sees an object."""
    has_policy: bool
    is_wanted: bool
    """Nobody drained the robot or is shutting it down; a running episode ends in order."""
    must_end: bool = False
    """Shutting down: a running episode ends at once."""


class EpisodeMachine:
    """Numbers episodes and decides their start and abort; `finish` tells it that one ended by the task's rules."""

    def __init__(self, first_episode: int) -> None:
        self.number = first_episode
        """The episode that runs, or the next one."""
        self.state = EpisodeState.RESETTING

    def advance(self, situation: Situation) -> Move:
        """One policy step."""
        is_laid_out = situation.driver_episode == self.number and situation.driver_phase is Phase.READY
        is_well = situation.is_fresh and not situation.is_stopped
        if self.state is EpisodeState.RUNNING:
            if is_well and is_laid_out and not situation.must_end:
                return Move.STEP
            self.finish()
            return Move.ABORT
        self.state = EpisodeState.WAITING if is_laid_out else EpisodeState.RESETTING
        may_start = situation.is_wanted and not situation.must_end and situation.has_work and situation.has_policy
        if not (is_laid_out and is_well and may_start):
            return Move.WAIT
        self.state = EpisodeState.RUNNING
        return Move.START

    def finish(self) -> None:
        """The running episode has ended; the next is asked for."""
        if self.state is EpisodeState.RUNNING:
            self.number += 1
            self.state = EpisodeState.RESETTING
