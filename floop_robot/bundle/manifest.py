"""Manifest: what a policy is, where it comes from, and how a robot checks that it is whole."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

from floop_robot.spec.bounds import BoundedInt
from floop_robot.spec.calibration import Offset
from floop_robot.spec.hyperparameters import CarriedSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.verdict import Verdict

LOG_STD_MIN = -20.0
"""Clamp of the log standard deviation of a tanh-squashed Gaussian, as in stable-baselines3."""
LOG_STD_MAX = 2.0


MAX_CHECKS = 64
"""Stored checks of a bundle; each costs its reader a pass through the network."""


class Activation(enum.StrEnum):
    """Non-linearity after each hidden layer, with torch's default options."""

    RELU = "relu"
    TANH = "tanh"
    ELU = "elu"
    SELU = "selu"
    LEAKY_RELU = "leaky_relu"
    SIGMOID = "sigmoid"
    SILU = "silu"
    SOFTPLUS = "softplus"
    MISH = "mish"
    GELU = "gelu"


class Distribution(enum.StrEnum):
    """What the network's last layer parametrises."""

    TANH_GAUSSIAN = "tanh_gaussian"
    """SAC: mean and log-std heads, sampled action and mean squashed by tanh."""
    GAUSSIAN = "gaussian"
    """PPO, A2C: mean head and a free log-std per action; the mean is clipped to [-1, 1]."""
    TANH = "tanh"
    """TD3, DDPG, and gSDE: mean head squashed by tanh. It has no density of its own: a sample is the mean."""
    CLIPPED = "clipped"
    """PPO and A2C with gSDE: mean head clipped to [-1, 1]; a sample is the mean."""

    @property
    def squashes(self) -> bool:
        """Whether tanh is applied to actions."""
        return self in (Distribution.TANH_GAUSSIAN, Distribution.TANH)


class Architecture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Shape of the actor network."""

    observation_size: int
    action_size: int
    hidden: tuple[int, ...]
    activation: Activation
    distribution: Distribution
    mean_limit: float | None = None
    """Means are clipped to ± this before they are squashed (stable-baselines3's `clip_mean`); None clips nothing."""

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor: `layerI.weight` (out, in), `layerI.bias`, `mean.*`, `log_std…`."""
        shapes: dict[str, tuple[int, ...]] = {}
        width = self.observation_size
        for i, size in enumerate(self.hidden):
            shapes[f"layer{i}.weight"], shapes[f"layer{i}.bias"] = (size, width), (size,)
            width = size
        heads = ["mean"]
        if self.distribution is Distribution.TANH_GAUSSIAN:
            heads.append("log_std")
        elif self.distribution is Distribution.GAUSSIAN:
            shapes["log_std"] = (self.action_size,)
        for head in heads:
            shapes[f"{head}.weight"], shapes[f"{head}.bias"] = (self.action_size, width), (self.action_size,)
        return shapes


class Normalization(msgspec.Struct, frozen=True, omit_defaults=True):
    """Applied to raw observations first: `(x - offset) / scale`; one number each per observation value."""

    offset: tuple[float, ...]
    scale: tuple[float, ...]
    limit: float | None = None
    """The result is clipped to ± this (stable-baselines3's `clip_obs`); None clips nothing."""


class DataRange(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy was trained on."""

    transitions: int = 0
    """Rows seen in training, prior data and demonstrations included."""
    journal_to: BoundedInt = 0
    """Last block of the fleet's journal that training had taken in, from the first on; 0 when it used none."""
    observation_low: tuple[float, ...] = ()
    """Smallest and largest raw value of each observation number in that data; empty when not recorded."""
    observation_high: tuple[float, ...] = ()


class PolicyCheck(msgspec.Struct, frozen=True):
    """A raw observation and the mean action that the policy answered where it was made."""

    observation: tuple[float, ...]
    action: tuple[float, ...]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a policy but its tensors."""

    version: int = 0
    """Number in the fleet's registry, from 1; 0 for a candidate that no registry has taken in."""
    epoch: int = 0
    """Fencing epoch of the registry that gave the version: an older epoch never follows a newer one."""
    parent: int = 0
    """Version that it descends from, as the registry finds with its own version (`VersionInfo.parent`); 0 before."""
    task: str
    ids: Ids
    algo: str
    architecture: Architecture
    normalization: Normalization
    sha256: str
    """SHA-256 of all that acts, in hex: the tensors and, if there are any, the corrections.

    It names the policy, whichever version it is published under.
    """
    calibration: dict[str, Offset] = {}
    """What each robot subtracts from perceived object positions under this policy."""
    settings: CarriedSettings = {}
    """The complete hyper-parameters that it was trained with (`spec.hyperparameters`); empty when not recorded."""
    data: DataRange
    certificate: Verdict | None = None
    """The gate's verdict; None before it, and for bundles that a person pushed."""
    checks: Annotated[tuple[PolicyCheck, ...], msgspec.Meta(max_length=MAX_CHECKS)]
    created_ns: int
    """When it was exported, wall clock."""

    @property
    def title(self) -> str:
        """How people call it: `v9`, or the start of its hash while it has no version."""
        return f"v{self.version}" if self.version else f"candidate {self.sha256[:8]}"
