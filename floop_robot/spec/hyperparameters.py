"""Hyper-parameters of each algorithm, documented here and nowhere else.

`floop.yaml` (`learner.sac`, `learner.ppo`) and recipes (`sac`, `ppo`, `clone`) embed these structs. Names are those of
stable-baselines3 where it has one. Needs no torch.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from floop_robot.spec.ranges import Count, Fraction, NotNegative, Positive, Share, Size

LearnedEntropy = Annotated[str, Meta(pattern=r"^auto(_(?=.*[1-9])\d+(\.\d+)?)?$")]
"""`auto`, or `auto_` and a start value above 0."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: a typo in a file is an error that names the field."""


class SacSettings(_Settings, frozen=True, kw_only=True):
    """Soft actor-critic (Haarnoja et al. 2018), with half of each batch from known tasks (RLPD, Ball et al. 2023)."""

    net_arch: tuple[Size, ...] = (64, 64)
    """Widths of the hidden layers. A fleet takes them from the checkpoint it starts from."""
    learning_rate: Positive = 1e-3
    """Adam's step size for actor, critics and entropy coefficient."""
    gamma: Fraction = 0.97
    """Discount per policy step. The reward shaping of floop's tasks is made for this value."""
    tau: Fraction = 0.01
    """Share by which the target critics follow the critics in each gradient step."""
    batch_size: Size = 256
    """Transitions per gradient step."""
    ent_coef: LearnedEntropy | NotNegative = "auto_0.1"
    """Entropy coefficient: `auto_X` learns it from the start value X, a number fixes it."""
    target_entropy: float | Literal["auto"] | None = "auto"
    """Mean policy entropy that a learned coefficient aims at; `auto` or `null`: minus the number of action values."""
    value_range: tuple[float, float] | None = (-8.0, 12.0)
    """Smallest and largest return there can be, after `reward_scale`. Targets are clipped to it, so critics can't
    run away. The default fits floop's own tasks; `null` clips nothing."""
    reward_scale: Positive = 0.2
    """Factor on rewards. Values of a few units are learned faster than values of some tens."""
    average_steps: Size = 500
    """Candidates are averages of the actor over about so many gradient steps; 1 averages nothing."""
    prior_fraction: Fraction = 0.5
    """Share of each batch from demonstrations and known tasks. With 0.25 one seed in three forgot known tasks."""
    rare_fraction: Fraction = 0.5
    """Share of a batch's new rows from episodes of the rarer outcome: the first successes, later the last failures."""
    imitation_weight: NotNegative = 0.0
    """Weight of the pull toward actions of successful episodes, where the critics find them better (Q-filter, Nair et
    al. 2018). 0 is plain SAC. In training it holds the policy back from becoming faster than what it was shown."""
    actor_uses_target_critics: bool = False
    """Whether the target critics rate actions for the actor, as in MPO (Abdolmaleki et al. 2018). They are less noisy
    than the critics, and later."""
    settled_lr_factor: Share = 1.0
    """Share of the learning rate that is left once explorers succeed at new tasks (WoLF, Bowling & Veloso 2002)."""
    utd_ratio: Positive = 2.0
    """Gradient steps for each arriving transition of a new task (update-to-data ratio)."""
    utd_ratio_known: NotNegative = 0.25
    """Gradient steps for each arriving transition of a known task."""
    buffer_size: Size = 50_000
    """Rows kept of each robot or explorer, for known and for new tasks each."""


class FleetSacSettings(SacSettings, frozen=True, kw_only=True):
    """SAC in a fleet: what failed has to succeed soon, and stay so."""

    imitation_weight: NotNegative = 2.0
    """Weight of the pull toward actions of successful episodes, where the critics find them better (Q-filter, Nair et
    al. 2018). With 2 new tasks are learned in half the time of 1. 8 is better for `PickPlace-v0`, where it keeps known
    tasks, but worse for `Pick-v0`. 0 is plain SAC."""
    actor_uses_target_critics: bool = True
    settled_lr_factor: Share = 0.3


class PpoSettings(_Settings, frozen=True, kw_only=True):
    """Proximal policy optimization (Schulman et al. 2017), started from behavior cloning."""

    net_arch: tuple[Size, ...] = (64, 64)
    """Widths of the hidden layers. A fleet takes them from the checkpoint it starts from."""
    learning_rate: Positive = 3e-4
    """Adam's step size."""
    gamma: Fraction = 0.97
    """Discount per policy step. The reward shaping of floop's tasks is made for this value."""
    gae_lambda: Fraction = 0.95
    """Decay of the generalized advantage estimate (Schulman et al. 2016)."""
    n_steps: Size = 2048
    """Transitions per update."""
    batch_size: Size = 256
    """Transitions per gradient step."""
    n_epochs: Size = 10
    """Passes over the transitions of an update."""
    clip_range: Positive = 0.2
    """Largest change of an action's probability ratio that is rewarded."""
    ent_coef: float = 0.0
    """Weight of the entropy bonus."""
    vf_coef: float = 0.5
    """Weight of the value loss."""
    target_kl: Positive | None = 0.03
    """An update ends early when the policy moved further than this (KL divergence); `null` never."""
    log_std_init: float = -1.6
    """Initial log standard deviation of every action."""
    value_warmup_updates: Count = 2
    """First updates that change only the value network, so that a cloned policy isn't spoiled by an untrained one."""
    max_policy_lag: Count = 8
    """Oldest policy whose transitions are still used, in published versions before the latest."""
    imitation_utd_ratio: NotNegative = 0.0
    """Gradient steps of imitation for each arriving row of a new task: behavior cloning of what succeeded there, tries
    by analogy too, beside PPO's own updates. Half of each batch keeps known tasks as they were. 0 is plain PPO."""
    imitation_learning_rate: Positive = 3e-4
    """Adam's step size of the imitation."""

    @property
    def utd_ratio(self) -> float:
        """Gradient steps for each arriving transition."""
        return self.n_epochs / self.batch_size


class FleetPpoSettings(PpoSettings, frozen=True, kw_only=True):
    """PPO in a fleet: what failed has to succeed soon, and what succeeded once is not to be lost again."""

    n_steps: Size = 1024
    """Transitions per update."""
    max_policy_lag: Count = 20
    """Oldest policy whose transitions are still used, in published versions before the latest: 10 s while it learns."""
    imitation_utd_ratio: NotNegative = 1.0


AlgorithmSettings = SacSettings | PpoSettings


class BehaviorCloningSettings(_Settings, frozen=True, kw_only=True):
    """Behavior cloning: the actor is fitted to demonstrated actions before training begins."""

    n_epochs: Size = 200
    """Passes over the demonstrations."""
    batch_size: Size = 256
    """Transitions per gradient step."""
    learning_rate: Positive = 1e-3
    """Adam's step size at the start; it falls to 0 linearly."""
    noise: NotNegative = 0.0
    """Standard deviation of noise that is added to normalized observations."""
