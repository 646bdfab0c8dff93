"""Hyperparameters of each algorithm; the defaults are those that the shipped recipes were tuned with."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Size = Annotated[int, Meta(ge=1)]


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: a typo in a recipe is an error that names the field."""


class SacSettings(_Settings, frozen=True, kw_only=True):
    """Soft actor-critic."""

    hidden: tuple[Size, ...] = (64, 64)
    learning_rate: Positive = 1e-3
    gamma: Fraction = 0.97
    """The discount that the tasks' potential-based shaping is exact for."""
    tau: Fraction = 0.01
    batch_size: Size = 256
    initial_alpha: Positive = 0.1
    target_entropy: float | None = None
    """Mean policy entropy that the temperature aims at; None means minus the number of action values."""
    value_range: tuple[float, float] | None = (-8.0, 12.0)
    """Smallest and largest return there can be (scaled, of the floop tasks): keeps critics from running away."""
    reward_scale: Positive = 0.2
    """Rewards are multiplied by it: values of some units are learned faster than values of some tens."""
    average_steps: Size = 500
    """Policies are handed out with actor weights averaged over about so many gradient steps; 1 averages nothing."""
    prior_fraction: Fraction = 0.5
    """Share of each batch from demonstrations or old work."""
    rare_fraction: Fraction = 0.5
    """Share of the fresh part of each batch from episodes of the rarer outcome: first successes, last failures."""
    imitation_weight: Annotated[float, Meta(ge=0)] = 0.0
    """How strongly the actor is drawn to what was done in successful episodes, where the critics find it better than
    what it would do itself (`sac_update.SacUpdateSettings.imitation_weight`). Fleets use it (`LearnerConfig.imitation_weight`): they have
    to succeed at all. Training has to be faster than what it was shown, and imitation holds it back."""
    actor_uses_target_critics: bool = False
    """Whether the slower target networks rate actions for the actor (`sac_update.SacUpdateSettings.actor_uses_target_critics`)."""
    settled_lr_factor: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Share of the learning rate that is left where fresh work succeeds: learn fast while losing, slowly while winning
    (Bowling & Veloso 2002). 1 keeps the rate."""
    updates_per_new: Positive = 2.0
    """Gradient steps that a transition of fresh work pays for."""
    updates_per_known: float = 0.25
    """Gradient steps that a transition of known work pays for."""
    quota: Size = 50_000
    """Rows kept of each robot, in each of the two regions of replay."""


class PpoSettings(_Settings, frozen=True, kw_only=True):
    """Proximal policy optimization, started from behavior cloning."""

    hidden: tuple[Size, ...] = (64, 64)
    learning_rate: Positive = 3e-4
    gamma: Fraction = 0.97
    gae_lambda: Fraction = 0.95
    rows_per_update: Size = 2048
    batch_size: Size = 256
    epochs: Size = 10
    clip: Positive = 0.2
    entropy_weight: float = 0.0
    value_weight: float = 0.5
    target_kl: float | None = 0.03
    log_std: float = -1.6
    """Initial log standard deviation of every action."""
    value_warmup_updates: int = 2
    """First updates that move only the value network: no cloned policy should follow advantages of an untrained one."""


class BehaviorCloningSettings(_Settings, frozen=True, kw_only=True):
    """Behavior cloning."""

    epochs: Size = 200
    batch_size: Size = 256
    learning_rate: Positive = 1e-3
    noise: float = 0.0
    """Standard deviation of noise on normalized observations."""
