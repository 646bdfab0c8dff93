"""What runs inside a worker of the gate."""

from __future__ import annotations

from typing import Protocol

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.spec.errors import FloopError

MAX_LOADED_POLICIES = 8
"""A trial needs two; a few more spare reloads when incumbents change back and forth."""


class EpisodeFailed(FloopError):
    """An episode that no worker could finish."""


class EpisodeRunner(Protocol):
    """Runs episodes, one after the other."""

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
        """Close the simulator."""
        ...
