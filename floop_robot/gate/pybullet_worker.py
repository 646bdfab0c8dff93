"""PyBulletRunner: simulated episodes in a worker, through the robot's own controller and limiter."""

from __future__ import annotations

from floop_envs.env import ArmEnv, make_env
from floop_envs.rollout import RolloutResult, run_episode
from floop_robot.bundle import Actor, Bundle
from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.spec.calibration import Calibration

RECYCLE_EPISODES = 50_000
"""Bullet keeps some 4 KB per object ever made; a fresh client gives them back before they matter."""


class PyBulletRunner:
    """One PyBullet world and the policies it has been given."""

    def __init__(self, task: str, robot: str) -> None:
        self._task, self._robot = task, robot
        self._policies: dict[str, tuple[Actor, Calibration]] = {}
        self._env: ArmEnv = make_env(task, robot)
        self._episodes = 0

    def load(self, policy: str, bundle: bytes) -> None:
        """Take in a policy; raises `BundleRefused` when its bytes are damaged or its weights not finite."""
        taken = Bundle.from_bytes(bundle)
        self._policies[policy] = taken.actor(), taken.manifest.calibration

    def forget(self, policy: str) -> None:
        """Drop a policy."""
        self._policies.pop(policy, None)

    def run(self, job: EpisodeJob) -> EpisodeOutcome:
        """Run one episode with the policy's mean actions."""
        self._episodes += 1
        if self._episodes % RECYCLE_EPISODES == 0:
            self._env.close()
            self._env = make_env(self._task, self._robot)
        actor, calibration = self._policies[job.policy]
        return outcome_of(run_episode(self._env, actor, job.scenario, calibration=calibration))

    def close(self) -> None:
        """Close the simulator."""
        self._env.close()


def outcome_of(result: RolloutResult) -> EpisodeOutcome:
    """Return what a robot could tell of an episode; the simulator's truth stays behind."""
    return EpisodeOutcome(
        success=result.success,
        steps=result.steps,
        duration_s=result.duration_s,
        total_reward=result.total_reward,
        interventions=result.interventions,
        limit_violations=result.limit_violations,
    )
