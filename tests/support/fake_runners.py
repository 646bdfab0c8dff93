"""Runners that workers can load in tests: real processes, no simulator."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.scenario import ObjectSpec, Scenario, Shape


def scenario(seed: int, object_class: str = "box") -> Scenario:
    return Scenario(
        task="test",
        seed=seed,
        object=ObjectSpec(
            object_class=object_class, shape=Shape.BOX, size_m=(0.04, 0.04, 0.04), mass_kg=0.1, lateral_friction=0.8
        ),
        object_xy_m=(0.5, 0.0),
        object_yaw_rad=0.0,
    )


class PidRunner:
    """Reports its process id as the number of steps.

    Objects of class `crash` kill the worker once per marker file, `dies` always, `raises` raises, `slow` takes a while.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._policies: dict[str, bytes] = {}

    def load(self, policy: str, bundle: bytes) -> None:
        if bundle == b"bad":
            raise BundleRefused("the bundle is damaged")
        self._policies[policy] = bundle

    def forget(self, policy: str) -> None:
        self._policies.pop(policy, None)

    def run(self, job: EpisodeJob) -> EpisodeOutcome:
        kind = job.scenario.object.object_class
        if kind == "crash":
            marker = self._folder / f"crashed_{job.scenario.seed}"
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if kind == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "raises":
            raise ValueError("no such shape")
        if kind == "slow":
            time.sleep(0.3)
        return EpisodeOutcome(
            success=self._policies[job.policy] == b"good",
            steps=os.getpid(),
            duration_s=float(job.scenario.seed),
            total_reward=0.0,
            interventions=0,
            limit_violations=0,
        )

    def close(self) -> None:
        (self._folder / f"closed_{os.getpid()}").touch()


def pid_runner(task: str, robot: str) -> PidRunner:
    """`task` is a folder for marker files."""
    return PidRunner(task)
