"""Hyper-parameters of each algorithm, documented here and nowhere else.

`floop.yaml` (`learner.sac`, `learner.ppo`) and recipes (`sac`, `ppo`, `clone`) embed these structs. Names are those of
stable-baselines3 where it has one. Needs no torch.

Settings are layers. A field that nobody set is `msgspec.UNSET`, and `over` lays what was set over other settings, so
that a change of one field leaves the others as they were. `default_settings.py` has the lowest layers.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, Self

import msgspec
from msgspec import Meta

from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ranges import Count, Fraction, NotNegative, Number, Positive, Share, Size

Layers = Annotated[tuple[Size, ...], Meta(min_length=1)]
ENOUGH_ROWS: Final = 256
"""Rows in a fleet's replay before SAC's first update: with fewer it would memorize them."""
MAX_BATCH: Final = 65_536
Batch = Annotated[int, Meta(ge=1, le=MAX_BATCH)]
"""Every batch is held in memory, with the values of every layer for it."""
Several = Annotated[int, Meta(ge=2)]
"""PPO normalizes the advantages of a batch, which one row has no spread for."""
UNSET: Final[Any] = msgspec.UNSET
"""The value of a field that nobody set. Algorithms get complete settings, so their types leave it out."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: a typo in a file is an error that names the field."""

    def over(self, lower: Self) -> Self:
        """These settings, and where a field is not set, those of `lower`."""
        said = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}
        return msgspec.structs.replace(lower, **said)

    @property
    def unset(self) -> tuple[str, ...]:
        """Names of the fields that are not set."""
        return tuple(name for name, value in msgspec.structs.asdict(self).items() if value is UNSET)

    def complete(self, where: str) -> Self:
        """Itself; raises `ConfigError` when a field is not set. `where`: what lacks it, for the error."""
        if self.unset:
            raise ConfigError(f"{where} lacks {', '.join(self.unset)}; say what it shall be")
        return self


class SacSettings(_Settings, frozen=True, kw_only=True):
    """Soft actor-critic (Haarnoja et al. 2018), with a part of each batch from known tasks (RLPD, Ball et al. 2023)."""

    net_arch: Layers = UNSET
    """Widths of the hidden layers. A fleet takes them from the checkpoint it starts from."""
    learning_rate: Positive = UNSET
    """Adam's step size for actor, critics and entropy coefficient."""
    gamma: Fraction = UNSET
    """Discount per policy step. The reward shaping of floop's tasks is made for this value."""
    tau: Fraction = UNSET
    """Share by which the target critics follow the critics in each gradient step."""
    batch_size: Batch = UNSET
    """Transitions per gradient step."""
    ent_coef: str | NotNegative = UNSET
    """Entropy coefficient: `auto_X` learns it from the start value X above 0, `auto` from 1; a number fixes it."""
    target_entropy: Number | Literal["auto"] | None = UNSET
    """Mean policy entropy that a learned coefficient aims at; `auto` or `null`: minus the number of action values."""
    value_range: tuple[Number, Number] | None = UNSET
    """Smallest and largest return there can be, after `reward_scale`. Targets are clipped to it, so critics can't
    run away. The default for tasks fits floop's own; `null` clips nothing."""
    reward_scale: Positive = UNSET
    """Factor on rewards. Values of a few units are learned faster than values of some tens."""
    average_steps: Size = UNSET
    """Candidates are averages of the actor over about so many gradient steps; 1 averages nothing."""
    prior_fraction: Fraction = UNSET
    """Share of each batch from demonstrations and known tasks. With 0.25 one seed in three forgot known tasks."""
    rare_fraction: Fraction = UNSET
    """Share of a batch's new rows from episodes of the rarer outcome: the first successes, later the last failures."""
    imitation_weight: NotNegative = UNSET
    """Weight of the pull toward actions of successful episodes, where the critics find them better (Q-filter, Nair et
    al. 2018). 0 is plain SAC. In training it holds the policy back from becoming faster than what it was shown."""
    actor_uses_target_critics: bool = UNSET
    """Whether the target critics rate actions for the actor, as in MPO (Abdolmaleki et al. 2018). They are less noisy
    than the critics, and later."""
    settled_lr_factor: Share = UNSET
    """Share of the learning rate that is left once explorers succeed at new tasks (WoLF, Bowling & Veloso 2002)."""
    utd_ratio: Positive = UNSET
    """Gradient steps for each arriving transition of a new task (update-to-data ratio)."""
    utd_ratio_known: NotNegative = UNSET
    """Gradient steps for each arriving transition of a known task."""
    buffer_size: Annotated[int, Meta(ge=ENOUGH_ROWS)] = UNSET
    """Rows kept of each robot or explorer, for known and for new tasks each. A fleet's updates begin with 256.
    A training of `env` reserves no more than its steps fill."""
    n_sampled_goal: Count = UNSET
    """Copies of each transition with a goal that was reached later in its episode (HER, Andrychowicz et al. 2017). Acts
    where observations have goals; 0 makes none."""

    def __post_init__(self) -> None:
        """Refuse a range whose ends are exchanged, and a text that is no way to learn the entropy coefficient."""
        if isinstance(self.ent_coef, str) and not _is_learned(self.ent_coef):
            cure = "write a number, auto, or auto_X with a start value X above 0, such as auto_0.1"
            raise ValueError(f"ent_coef is {self.ent_coef!r}; {cure}")
        if isinstance(self.value_range, tuple) and self.value_range[0] >= self.value_range[1]:
            raise ValueError(f"value_range is {list(self.value_range)}; write the smaller number first")


class PpoSettings(_Settings, frozen=True, kw_only=True):
    """Proximal policy optimization (Schulman et al. 2017), started from behavior cloning."""

    net_arch: Layers = UNSET
    """Widths of the hidden layers. A fleet takes them from the checkpoint it starts from."""
    learning_rate: Positive = UNSET
    """Adam's step size."""
    gamma: Fraction = UNSET
    """Discount per policy step. The reward shaping of floop's tasks is made for this value."""
    gae_lambda: Fraction = UNSET
    """Decay of the generalized advantage estimate (Schulman et al. 2016)."""
    n_steps: Several = UNSET
    """Transitions per update."""
    batch_size: Annotated[int, Meta(ge=2, le=MAX_BATCH)] = UNSET
    """Transitions per gradient step; at most `n_steps`."""
    n_epochs: Size = UNSET
    """Passes over the transitions of an update."""
    clip_range: Positive = UNSET
    """Largest change of an action's probability ratio that is rewarded."""
    ent_coef: NotNegative = UNSET
    """Weight of the entropy bonus."""
    vf_coef: NotNegative = UNSET
    """Weight of the value loss."""
    target_kl: Positive | None = UNSET
    """An update ends early when the policy moved further than this (KL divergence); `null` never."""
    log_std_init: Annotated[float, Meta(ge=-20, le=2)] = UNSET
    """Initial log standard deviation of every action."""
    value_warmup_updates: Count = UNSET
    """First updates that change only the value network, so that a cloned policy isn't spoiled by an untrained one."""
    max_policy_lag: Count = UNSET
    """Oldest policy whose transitions are still used, in published versions before the latest."""
    imitation_utd_ratio: NotNegative = UNSET
    """Gradient steps of imitation for each arriving row of a try at a new task: behavior cloning of the way that
    succeeds best, beside PPO's own updates. Three quarters of each batch keep known tasks. 0 is plain PPO."""
    imitation_learning_rate: Positive = UNSET
    """Adam's step size of the imitation."""

    @property
    def utd_ratio(self) -> float:
        """Gradient steps for each arriving transition."""
        return self.n_epochs / self.batch_size


AlgorithmSettings = SacSettings | PpoSettings
CarriedSettings = dict[str, bool | int | float | str | tuple[int | float, ...] | None]
"""Settings as they travel with a checkpoint or a bundle, of whichever algorithm and version of floop."""


class BehaviorCloningSettings(_Settings, frozen=True, kw_only=True):
    """Behavior cloning: the actor is fitted to demonstrated actions before training begins."""

    n_epochs: Size = 200
    """Passes over the demonstrations."""
    batch_size: Batch = 256
    """Transitions per gradient step."""
    learning_rate: Positive = 1e-3
    """Adam's step size at the start; it falls to 0 linearly."""
    noise: NotNegative = 0.0
    """Standard deviation of noise that is added to normalized observations."""


def _is_learned(ent_coef: str) -> bool:
    auto, _, start = ent_coef.partition("_")
    try:
        return auto == "auto" and "_" not in start and (ent_coef == "auto" or 0.0 < float(start) < math.inf)
    except ValueError:
        return False
