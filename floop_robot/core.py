"""The nouns of floop, the loop they make, and the protocols between its parts.

`floop_robot/loop.py` runs this loop in one process; a fleet runs it as processes:

    while True:
        robots.run(actor, version, world, rows)             # robot/    policy → safety limiter → arm → journal
        failures.take(info, ends, labels)                   # monitor/  which classes of objects fail
        explorer.explore(live_actor, live_version)          # explore/  practice, most of it where tasks fail
        learner.step()                                      # learn/    SAC or PPO, paced by arriving rows
        gate.offer(candidate.to_bytes())                    # bundle/   a policy as bytes
        judged = gate.step(timeout_s)                       # gate/     paired PyBullet episodes, sequential test
        controller.submit(candidate, judged.verdict, ...)   # deploy/   registry: versions only grow
        controller.observe(episodes, ...)                   # deploy/   confirm, or roll back, by live success
        version = controller.production                     # robots install it between two control steps

The time from the first failed episode to confirmed live success is the Time-To-Improvement (TTI).

Each noun has one home and is re-exported here. Each protocol is a seam: the part that needs something declares it, and
whoever wires the parts passes it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import msgspec
import numpy as np

from floop_robot.bundle import Bundle
from floop_robot.spec.ids import Ids
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import EpisodeEnd, Event, Label, ObjectReport, Record, Source, StreamInfo, Transition
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import ObjectSpec, Scenario, ScenarioSource
from floop_robot.spec.task import Judgement, TaskRules, TaskSpec
from floop_robot.spec.verdict import Decision, Verdict
from floop_robot.stream.codec import TailBlock

__all__ = [
    "Bundle",
    "Decision",
    "EpisodeEnd",
    "EpisodeJob",
    "EpisodeOutcome",
    "Event",
    "Executor",
    "Ids",
    "JournalSource",
    "Judgement",
    "Label",
    "ObjectReport",
    "ObjectSpec",
    "PolicyActor",
    "Record",
    "RecordSink",
    "RobotModel",
    "Scenario",
    "ScenarioSource",
    "Source",
    "StreamInfo",
    "TailBlock",
    "TaskRules",
    "TaskSpec",
    "Transition",
    "Verdict",
    "WeightPublisher",
]


class PolicyActor(Protocol):
    """Turns a raw observation into an action: `bundle.Actor`, the scripted expert, an analogy."""

    def mean(self, observation: Vector) -> Vector:
        """The best action, in [-1, 1]."""
        ...

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        """A random action, and its log-density (NaN if unknown)."""
        ...


class RecordSink(Protocol):
    """Takes what a robot or an explorer reports; numbers the records and never blocks."""

    def put(self, record: Record) -> bool:
        """Take a record; False if there was no room for it."""
        ...


class JournalSource(Protocol):
    """Follows a journal: `JournalFollower` over ZeroMQ, `MemoryFollower` in one process (both in `stream`)."""

    @property
    def position(self) -> int:
        """Id of the block up to which the journal was read."""
        ...

    @property
    def journal_id(self) -> str:
        """Identity of the journal; empty while unknown."""
        ...

    def poll(self, timeout_s: float) -> Sequence[TailBlock]:
        """The next blocks, oldest first; empty when none came in time."""
        ...


class WeightPublisher(Protocol):
    """Takes what the learner learned; called from the learner's thread, so it must not block."""

    def weights(self, version: int, bundle: Bundle) -> None:
        """Live weights, for explorers only."""
        ...

    def candidate(self, bundle: Bundle) -> None:
        """A candidate for the gate."""
        ...


class EpisodeJob(msgspec.Struct, frozen=True):
    """Run a policy, given by its name (`Manifest.sha256`), in a scenario."""

    policy: str
    scenario: Scenario


class EpisodeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an `EpisodeJob`."""

    success: bool
    steps: int
    duration_s: float
    """Simulated time."""
    total_reward: float
    interventions: int
    """Servo ticks the limiter changed."""
    limit_violations: int
    """Measured joint states outside the limits."""


class Executor(Protocol):
    """Runs episodes for the gate: in this process, in local processes, or on a cluster."""

    @property
    def width(self) -> int:
        """How many episodes run at once."""
        ...

    def add_policy(self, policy: str, bundle: bytes) -> None:
        """Make a policy known; the latest `gate.interfaces.MAX_LOADED_POLICIES` stay known."""
        ...

    def submit(self, jobs: Sequence[EpisodeJob]) -> list[Future[EpisodeOutcome]]:
        """Queue jobs, one future each in order; a future that has not started can be cancelled."""
        ...

    def close(self) -> None:
        """Stop; what has not finished is cancelled."""
        ...
