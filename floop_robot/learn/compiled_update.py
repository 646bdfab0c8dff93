"""The SAC update in one call of compiled code (`native/sac_update.c`), where that could be built for this machine.

An optional extension: without a compiler, or on another processor, `SacUpdate` computes the same in numpy.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, byref, c_double, c_int64, c_void_p
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from floop_robot.learn.adam import FlatAdam
from floop_robot.learn.mlp import Array, StackedMlp
from floop_robot.learn.sac_update import Losses, SacParameters, SacUpdate, SacUpdateSettings
from floop_robot.replay.sac_batch import SacBatch

INSTRUCTION_SETS = ("avx512", "avx2")
"""Best first. setup.py builds `_sac_update_NAME` for each."""
MIN_LAYERS, MAX_LAYERS = 2, 8
"""One hidden layer at least; the most are those of networks.h."""


class _NetStruct(Structure):
    """`Net` of networks.h."""

    _fields_ = (
        ("layers", c_int64), ("stack", c_int64), ("sizes", c_void_p),
        *((name, c_void_p) for name in ("params", "grads", "mean", "square")),
    )  # fmt: skip


class _ProblemStruct(Structure):
    """`Problem` of sac_update.c."""

    _fields_ = (
        *((name, c_int64) for name in ("rows", "obs_size", "action_size")),
        *((name, _NetStruct) for name in ("actor", "critic", "target")),
        *((name, c_void_p) for name in ("log_alpha", "alpha_mean", "alpha_square")),
        *((name, c_void_p) for name in ("obs_act", "next_obs_act", "reward", "discount", "success", "noise")),
        ("memory", c_void_p),
    )


class _SettingsStruct(Structure):
    """`Settings` of sac_update.c."""

    _fields_ = (
        *((name, c_double) for name in ("actor_rate", "critic_rate", "alpha_rate", "tau", "target_entropy")),
        *((name, c_double) for name in ("fixed_alpha", "lowest", "highest", "imitation_weight")),
        *((name, c_int64) for name in ("learns_alpha", "updates_target", "actor_uses_target_critics")),
        *((name, c_int64) for name in ("actor_steps", "critic_steps", "alpha_steps")),
    )


class _LossesStruct(Structure):
    """`Losses` of sac_update.c, in the order of `sac_update.Losses`."""

    _fields_ = tuple((name, c_double) for name in Losses._fields)


@functools.cache
def instruction_set() -> str | None:
    """Name of the best instruction set that was built and that this machine has, or None."""
    return next((name for name in INSTRUCTION_SETS if available(name)), None)


def available(name: str) -> bool:
    """Whether the update was built for this instruction set and this machine has it."""
    return _load(name) is not None


@functools.cache
def _load(name: str) -> ctypes.CDLL | None:
    for path in Path(__file__).parent.glob(f"_sac_update_{name}.*"):
        try:
            library = ctypes.CDLL(str(path))
        except OSError:  # built for another machine
            continue
        if not _fits(library):  # built from older sources: `make setup` builds it again
            continue
        library.sac_supported.restype = library.sac_memory.restype = c_int64
        library.sac_memory.argtypes = (POINTER(_ProblemStruct),)
        library.sac_step.argtypes, library.sac_step.restype = (c_void_p, c_void_p, c_void_p), None
        if library.sac_supported():
            return library
    return None


def _fits(library: ctypes.CDLL) -> bool:
    """Whether the structs of the library are those of this file."""
    if not hasattr(library, "sac_struct_bytes"):
        return False
    library.sac_struct_bytes.restype = c_int64
    sizes = ctypes.sizeof(_ProblemStruct), ctypes.sizeof(_SettingsStruct), ctypes.sizeof(_LossesStruct)
    return bool(library.sac_struct_bytes() == sizes[0] + 1000 * sizes[1] + 1_000_000 * sizes[2])


def make_update(parameters: SacParameters, rows: int, *, compiled: bool) -> SacUpdate | CompiledSacUpdate:
    """The update for batches of `rows`; numpy's unless `compiled` and there is compiled code for these networks."""
    name = instruction_set() if compiled else None
    depths = [len(net.layers) for net in (parameters.actor, parameters.critic)]
    fits = min(depths) >= MIN_LAYERS and max(depths) <= MAX_LAYERS
    return CompiledSacUpdate(parameters, rows, name) if name and fits else SacUpdate(parameters, rows)


class CompiledSacUpdate:
    """As `SacUpdate`, and with the same results up to rounding."""

    def __init__(self, parameters: SacParameters, rows: int, name: str) -> None:
        library = _load(name)
        if library is None:
            raise ValueError(f"the SAC update is not compiled for {name} on this machine")
        self.parameters, self.rows = parameters, rows
        self.batch = SacBatch(rows, parameters.actor.sizes[0], parameters.actor.sizes[-1] // 2)
        self._sizes = [np.array(net.sizes, np.int64) for net in (parameters.actor, parameters.critic)]
        self._problem = self._describe(parameters)
        self._memory: Array = np.zeros(library.sac_memory(byref(self._problem)) + 16, np.float32)
        self._problem.memory = -(-self._memory.ctypes.data // 64) * 64
        self._settings, self._losses = _SettingsStruct(), _LossesStruct()
        self._known: SacUpdateSettings | None = None
        self._call = library.sac_step
        self._arguments = tuple(ctypes.addressof(s) for s in (self._problem, self._settings, self._losses))

    def _describe(self, p: SacParameters) -> _ProblemStruct:
        actor_sizes, critic_sizes = self._sizes
        batch = self.batch
        arrays = {
            name: _address(getattr(batch, name))
            for name in ("obs_act", "next_obs_act", "reward", "discount", "success", "noise")
        }
        return _ProblemStruct(
            rows=self.rows, obs_size=batch.obs_size, action_size=batch.action_size,
            actor=_net(p.actor, actor_sizes, p.actor_adam), critic=_net(p.critic, critic_sizes, p.critic_adam),
            target=_net(p.target, critic_sizes, None), log_alpha=_address(p.log_alpha),
            alpha_mean=_address(p.alpha_adam.mean), alpha_square=_address(p.alpha_adam.square), **arrays,
        )  # fmt: skip

    def step(self, settings: SacUpdateSettings) -> Losses:
        """Update entropy coefficient, critics, actor and targets on `batch`."""
        if settings is not self._known:
            _write(settings, self._settings)
            self._known = settings
        p, now, losses = self.parameters, self._settings, self._losses
        p.actor_adam.steps += 1
        p.critic_adam.steps += 1
        p.alpha_adam.steps += now.learns_alpha
        now.actor_steps, now.critic_steps = p.actor_adam.steps, p.critic_adam.steps
        now.alpha_steps = p.alpha_adam.steps
        self._call(*self._arguments)
        return Losses(losses.critic, losses.actor, losses.alpha, losses.alpha_loss, losses.entropy)


def _address(array: Array) -> int:
    return array.ctypes.data


def _net(net: StackedMlp, sizes: NDArray[np.int64], adam: FlatAdam | None) -> _NetStruct:
    moments = {"mean": _address(adam.mean), "square": _address(adam.square)} if adam else {}
    return _NetStruct(
        layers=len(sizes) - 1,
        stack=net.stack,
        sizes=sizes.ctypes.data,
        params=_address(net.params),
        grads=_address(net.grads),
        **moments,
    )


def _write(settings: SacUpdateSettings, to: _SettingsStruct) -> None:
    for name in ("actor_rate", "critic_rate", "alpha_rate", "tau", "target_entropy", "imitation_weight"):
        setattr(to, name, getattr(settings, name))
    to.lowest, to.highest = settings.value_range or (-np.inf, np.inf)
    to.learns_alpha, to.fixed_alpha = settings.fixed_alpha is None, settings.fixed_alpha or 0.0
    to.updates_target, to.actor_uses_target_critics = settings.update_target, settings.actor_uses_target_critics
