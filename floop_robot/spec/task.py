"""TaskSpec and TaskRules: what a task is, and how an observation is judged, without any simulator."""

from __future__ import annotations

from typing import Protocol

import msgspec

from floop_robot.spec.layout import Layout, Vector


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a task that makes data and policies interchangeable (it is what `contract_id` hashes)."""

    id: str
    meaning: str
    observation: Layout
    action: Layout
    policy_rate_hz: float
    max_steps: int

    @property
    def period_s(self) -> float:
        """Seconds from one policy step to the next."""
        return 1.0 / self.policy_rate_hz


class TaskProgress(msgspec.Struct, frozen=True):
    """What the judgement of a step needs from the steps before."""

    held_steps: int = 0


class Judgement(msgspec.Struct, frozen=True):
    """What one step was worth."""

    reward: float
    success: bool
    terminated: bool
    progress: TaskProgress


class TaskRules(Protocol):
    """Reward and success as pure functions of what a robot can observe."""

    @property
    def spec(self) -> TaskSpec:
        """The task that is judged."""
        ...

    @property
    def reward_parameters(self) -> dict[str, float]:
        """Every constant of the reward and of success; hashed into `reward_id`."""
        ...

    def start(self) -> TaskProgress:
        """TaskProgress before the first step."""
        ...

    def judge(self, progress: TaskProgress, observation: Vector, next_observation: Vector) -> Judgement:
        """Judge the step that led from `observation` to `next_observation` (raw, unnormalized)."""
        ...
