"""EpisodeStateMachine: who starts, ends and resets an episode, on a simulated and on a real robot.

The policy process owns it, and the driver answers:

    RESETTING ── driver: this episode is laid out, arm at home ──▶ WAITING ── all is well ──▶ RUNNING
        ▲  the driver is asked for episode n, again and again          │ driver lost it          │
        └──────────────────────────────────────────────────────────────┴── success, timeout, abort

* **Start**: the policy, as soon as the driver says READY for the asked-for number, perception sees work, safety is up
  and not stopped, a policy is installed, and work is wanted (not drained); where the robot waits for it, on a call.
* **End**: the policy, when the task's rules say so (success) or steps run out (timeout); or *abort*, when robot state
  or safety go silent, the stop is latched, the driver gives the episode up, or the process shuts down.
* **Reset**: the driver, on request. A simulator lays out the next scenario. A real robot's driver homes the arm (by its
  own interface; safety passes nothing while RESETTING) and says READY once work is in place, be it by a feeder, a
  sensor or a person with a button.

Pure: no clock, no sockets.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from floop_robot.robot.messages import Phase

DRAINED_OR_HELD: Final = "the robot is drained or on hold"
"""Whoever keeps it from work knows a better reason."""


class EpisodeState(enum.StrEnum):
    """Where an episode stands."""

    RESETTING = "resetting"
    WAITING = "waiting"
    RUNNING = "running"


class StepDecision(enum.StrEnum):
    """What the policy loop has to do in this step."""

    WAIT = "wait"
    """Nothing; while RESETTING, the driver is asked for the episode `number`."""
    START = "start"
    STEP = "step"
    ABORT = "abort"
    """End the episode `number - 1`, which was running, as aborted."""


class EpisodeConditions(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy loop sees in one step."""

    driver_episode: int
    driver_phase: Phase
    is_fresh: bool
    """Robot state and safety state are both recent."""
    is_stopped: bool
    """The stop is latched, or safety has not taken over the arm yet."""
    has_object: bool
    """Perception sees an object."""
    has_policy: bool
    accepts_episodes: bool
    """Nobody drained the robot or is shutting it down; a running episode ends in order."""
    is_requested: bool = True
    """Episodes start by themselves, or somebody called for this one."""
    must_end: bool = False
    """Shutting down: a running episode ends at once."""

    def faults(self, episode: int) -> tuple[str, ...]:
        """What ends `episode` while it runs, and keeps it from starting, in words; empty when all is well."""
        found = (
            (self.must_end, "the control loop is ending"),
            (not self.is_fresh, "robot state or safety report is too old"),
            (self.is_stopped, "the stop is latched, or safety has not taken over the arm"),
            (self.driver_episode != episode, f"the driver serves episode {self.driver_episode}, not {episode}"),
            (
                self.driver_episode == episode and self.driver_phase is not Phase.READY,
                f"the driver is not ready for episode {episode}",
            ),
        )
        return tuple(words for is_so, words in found if is_so)

    def start_blockers(self) -> tuple[str, ...]:
        """What keeps an episode from starting but does not end one that runs, in words."""
        found = (
            (not self.accepts_episodes, DRAINED_OR_HELD),
            (not self.has_policy, "no policy has arrived"),
            (not self.has_object, "no object is perceived"),
            (not self.is_requested, "nobody called for it"),
        )
        return tuple(words for is_so, words in found if is_so)


class EpisodeStateMachine:
    """Numbers episodes and decides their start and abort; `finish` tells it that one ended by the task's rules."""

    def __init__(self, first_episode: int) -> None:
        self.number = first_episode
        """The episode that runs, or the next one."""
        self.state = EpisodeState.RESETTING

    def advance(self, conditions: EpisodeConditions) -> StepDecision:
        """One policy step."""
        faults = conditions.faults(self.number)
        if self.state is EpisodeState.RUNNING:
            if not faults:
                return StepDecision.STEP
            self.finish()
            return StepDecision.ABORT
        is_laid_out = conditions.driver_episode == self.number and conditions.driver_phase is Phase.READY
        self.state = EpisodeState.WAITING if is_laid_out else EpisodeState.RESETTING
        if faults or conditions.start_blockers():
            return StepDecision.WAIT
        self.state = EpisodeState.RUNNING
        return StepDecision.START

    def finish(self) -> None:
        """The running episode has ended; the next is asked for."""
        if self.state is EpisodeState.RUNNING:
            self.number += 1
            self.state = EpisodeState.RESETTING
