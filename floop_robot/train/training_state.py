"""TrainingState: where a training stands, as a file from which `--resume` goes on.

Rows are in the log beside it (`take_log`); here are the weights, the random generators and the counters.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors.numpy
import torch as th
from numpy.typing import NDArray
from safetensors import SafetensorError

from floop_robot.bundle import write_atomic
from floop_robot.durable.framing import deframe, frame
from floop_robot.spec.errors import StorageError
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.train.policy_selector import SelectorState
from floop_robot.train.run_counters import RecentEpisode, RunCounters
from floop_robot.train.train_config import TrainConfig

Arrays = dict[str, NDArray[Any]]
_TORCH_RNG, _NUMPY_RNG = "rng.torch", "rng.numpy"


class TrainingState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything but arrays and rows."""

    config: TrainConfig
    """The effective configuration: a training that goes on has the settings that it began with."""
    task: TaskSpec
    """With the scales that it began with."""
    ids: Ids
    counters: RunCounters
    gradient_steps: int
    owed: float
    """Gradient steps that rows paid for and that are not done."""
    rows_bytes: int
    """Size of the log that belongs to it."""
    recent: tuple[RecentEpisode, ...]
    selector: SelectorState
    algorithm: dict[str, Any]
    """Counters of the algorithm."""
    numpy_rng: tuple[int, int, float] = (0, 0, 0.0)
    """Position and cached normal of numpy's global generator, which stable-baselines3 draws from."""


def save_state(path: Path, state: TrainingState, arrays: Arrays) -> None:
    """Write a state with its arrays and the global random generators; raises `StorageError`."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state = msgspec.structs.replace(state, numpy_rng=(int(position), int(has_gauss), float(cached)))
    generators = {_TORCH_RNG: th.get_rng_state().numpy(), _NUMPY_RNG: np.asarray(keys)}
    header = {"floop": msgspec.json.encode(state).decode()}
    write_atomic(path, frame(safetensors.numpy.save({**arrays, **generators}, metadata=header)))


def load_state(path: Path) -> tuple[TrainingState, Arrays]:
    """Read a state and its arrays; raises `StorageError` when it is damaged."""
    try:
        blob = deframe(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; check the folder") from None
    if blob is None:
        raise StorageError(f"{path} is damaged; train again")
    data = bytes(blob)
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = msgspec.json.decode(data[8 : 8 + length])["__metadata__"]["floop"]
        return msgspec.json.decode(header, type=TrainingState), safetensors.numpy.load(data)
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())
        raise StorageError(f"{path} is no training of this floop ({reason}); train again") from None


def restore_generators(state: TrainingState, arrays: Arrays) -> None:
    """Let the global random generators go on where they were."""
    position, has_gauss, cached = state.numpy_rng
    np.random.set_state(("MT19937", arrays[_NUMPY_RNG], position, has_gauss, cached))
    th.set_rng_state(th.from_numpy(arrays[_TORCH_RNG].copy()))


def part_of(arrays: Arrays, name: str) -> Arrays:
    """The arrays whose names begin with `name` and a dot, without it."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def named(name: str, arrays: Arrays) -> Arrays:
    """The inverse of `part_of`."""
    return {f"{name}.{key}": value for key, value in arrays.items()}
