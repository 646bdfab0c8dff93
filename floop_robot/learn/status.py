"""LearnerStatus: how the learner is doing. One struct for the learner, its clients, its stats file and its ROS topic.

Needs no torch. `floop_interfaces/msg/LearnerStatus.msg` has the same fields.
"""

from __future__ import annotations

import enum

from floop_robot.durable.framing import Message


class LearnerState(enum.StrEnum):
    """What the learner is doing."""

    STARTING = "starting"
    """Rebuilds its replay from the journal."""
    LEARNING = "learning"
    WAITING = "waiting"
    """Has used up what arrived, at the configured pace."""
    PAUSED = "paused"
    DOWN = "down"
    """Doesn't answer. Only clients report this state."""


class LearnerStatus(Message, frozen=True, kw_only=True):
    """How the learner is doing. Losses and latencies are NaN before the first, or where an algorithm has none."""

    state: LearnerState
    algo: str
    task: str
    gradient_steps: int = 0
    """Taken since training began, over restarts."""
    robot_rows: int = 0
    explorer_rows: int = 0
    demonstration_rows: int = 0
    foreign_rows: int = 0
    """Rows left out: another contract or reward."""
    dropped_rows: int = 0
    """Rows left out: their successor never came."""
    stale_rows: int = 0
    """Rows left out: too old for PPO."""
    prior_rows: int = 0
    """Rows of known tasks in replay."""
    new_rows: int = 0
    """Rows of new or failing tasks in replay."""
    steps_per_s: float = 0.0
    """Gradient steps per second over the last seconds."""
    updates_per_transition: float = 0.0
    owed: int = 0
    """Gradient steps in arrears."""
    journal_block: int = 0
    """Last block of the journal taken in."""
    actor_loss: float = float("nan")
    critic_loss: float = float("nan")
    alpha: float = float("nan")
    entropy: float = float("nan")
    latency_p50_s: float = float("nan")
    latency_p99_s: float = float("nan")
    """From the control loop to the first gradient step that can draw the transition; on one host's clock."""
    latency_implausible: int = 0
    """Rows left out of these: stamped in the future, because two hosts' clocks differ or one was set."""
    weights_version: int = 0
    candidates: int = 0
    last_candidate_sha256: str = ""
    checkpoint_ns: int = 0
    """When the last checkpoint was written, wall clock; 0 before the first."""
    checkpoint_path: str = ""
    detail: str = ""
    """What a person should know."""
