"""What an executor is asked and what it answers: one episode of one policy in one scenario."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import msgspec

from floop_robot.spec.errors import FloopError
from floop_robot.spec.scenario import Scenario


class EpisodeJob(msgspec.Struct, frozen=True):
    """Run a policy, named by the SHA-256 of its tensors, in a scenario."""

    policy: str
    scenario: Scenario


class EpisodeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    success: bool
    steps: int
    duration_s: float
    """Simulated time."""
    total_reward: float
    interventions: int
    """Servo ticks the limiter changed."""
    limit_violations: int
    """Measured joint states outside the limits."""


class EpisodeFailed(FloopError):
    """An episode that no worker could finish."""


class EpisodeRunner(Protocol):
    """What runs inside a worker."""

    def load(self, policy: str, bundle: bytes) -> None:
        """Take in a policy (the bytes of its bundle); raises `BundleRefused`."""
        ...

    def forget(self, policy: str) -> None:
        """Drop a policy."""
        ...

    def run(self, job: EpisodeJob) -> EpisodeOutcome:
        """Run one episode."""
        ...

    def close(self) -> None:
        """Let go of the simulator."""
        ...


class Executor(Protocol):
    """Runs episodes somewhere: here, in local processes, or on a cluster."""

    @property
    def width(self) -> int:
        """How many episodes run at once."""
        ...

    def add_policy(self, policy: str, bundle: bytes) -> None:
        """Make a policy known; the latest `MAX_LOADED_POLICIES` stay known."""
        ...

    def submit(self, jobs: Sequence[EpisodeJob]) -> list[Future[EpisodeOutcome]]:
        """Queue jobs, one future each in order; a future that has not started can be cancelled."""
        ...

    def close(self) -> None:
        """Stop; what has not finished is cancelled."""
        ...


MAX_LOADED_POLICIES = 8
"""A trial needs two; a few more spare reloads when incumbents change back and forth."""
