"""Records: everything a robot or an explorer reports, one frozen struct each.

All four kinds share one counter: the key of a record is `(robot, boot_id, seq)`, strictly consecutive. `boot_id` is
stored with the spool, so the keys of a counter that starts again never collide with earlier ones.
Stamps are wall-clock nanoseconds of the sender (for people and reports); durations are measured with the local steady
clock and travel as durations.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from floop_robot.spec.bounds import BoundedInt
from floop_robot.spec.calibration import NO_OFFSET, Offset
from floop_robot.spec.ids import Ids
from floop_robot.spec.layout import Vector

MAX_TRIED = 32
"""Numbers that tell what was tried; the shipped tries have six."""


class Source(enum.IntEnum):
    """Who acted."""

    ROBOT = 0
    EXPLORER = 1
    DEMONSTRATION = 2
    FITTER = 3
    """Fits the simulator to robots and acts nowhere; its stream holds events only."""


class ActMode(enum.IntEnum):
    """How the action was drawn from the policy."""

    MEAN = 0
    SAMPLE = 1
    TRIAL = 2
    """Not by the policy as it is: an explorer tried something else; no density is known."""


class OutcomeCode(enum.IntEnum):
    """How an episode ended, as the robot saw it."""

    SUCCESS = 0
    TIMEOUT = 1
    ABORTED = 2
    """Stopped from outside (e-stop, stale observation, shutdown): neither a success nor a failure of the policy."""


class StreamInfo(msgspec.Struct, frozen=True):
    """What is the same for every record of one stream: who sends, since which boot, for which task."""

    robot: str
    boot_id: str
    task: str
    ids: Ids
    source: Source


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One policy step. The next observation is the `obs` of the next row, or the `EpisodeEnd`'s final one."""

    seq: int
    episode: int
    step: int
    stamp_ns: int
    policy_version: int
    act_mode: ActMode
    obs: Vector
    """Raw observation, shape (obs_size,), units of the task's layout."""
    action_requested: Vector
    """What the policy asked for, in [-1, 1]; what `log_prob` speaks of, and what PPO trains on."""
    action: Vector
    """What was executed after the limiter, in [-1, 1]; what SAC trains on."""
    log_prob: float
    """Log-density of `action_requested` under the acting policy; NaN unless `ActMode.SAMPLE`."""
    reward: float
    terminated: bool
    truncated: bool
    interventions: int
    """How many servo ticks of this step the limiter changed."""


class ObjectReport(msgspec.Struct, frozen=True):
    """The object as perceived when an episode began; scenarios of failing tasks are built from this only."""

    object_class: str
    size_m: tuple[float, float, float]
    """Full extents along the object's own axes."""
    position_m: tuple[float, float, float]
    """Center, robot base frame, as perceived: nothing is subtracted."""
    yaw_rad: float
    correction_m: Offset = NO_OFFSET
    """What the acting policy had subtracted from perceived positions in the observations of this episode."""


class RobotReport(msgspec.Struct, frozen=True):
    """What one robot perceived when an episode began."""

    robot: str
    object: ObjectReport


class GroundTruth(msgspec.Struct, frozen=True):
    """What only a simulator knows. For reports: learner, gate and explorers never read it."""

    success: bool
    scenario: str
    """JSON of the `Scenario` that was running."""


class EpisodeEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an episode, with the final observation."""

    seq: BoundedInt
    episode: BoundedInt
    stamp_ns: BoundedInt
    policy_version: BoundedInt
    act_mode: ActMode
    steps: BoundedInt
    duration_s: float
    total_reward: float
    outcome: OutcomeCode
    final_obs: Vector
    object: ObjectReport
    """The object that was perceived when the episode began."""
    truth: GroundTruth | None = None
    tried: Annotated[tuple[float, ...], msgspec.Meta(max_length=MAX_TRIED)] = ()
    """What `ActMode.TRIAL` tried, in the explorer's own numbers; episodes of the same way have the same ones."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """A later judgement of an episode by a person or a downstream sensor; joins by (robot, boot, episode)."""

    seq: BoundedInt
    stamp_ns: BoundedInt
    episode_boot_id: str
    episode: BoundedInt
    success: bool
    author: str
    comment: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Anything else worth keeping: version swaps, faults, stops."""

    seq: BoundedInt
    stamp_ns: BoundedInt
    name: str
    detail: str = ""


Record = Transition | EpisodeEnd | Label | Event
