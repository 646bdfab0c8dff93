"""The stock model of a training on images: stable-baselines3's SAC or PPO with its convolutions (NatureCNN).

floop's update, actor and bundle are made for vectors. A robot's policy of images needs another runtime, so there is a
`model.zip` for stable-baselines3 and no `policy.floop`.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC, HerReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecEnv

from floop_robot.durable.files import replace_file_by
from floop_robot.spec.errors import StorageError
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.train.train_config import TrainConfig

ROWS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts", "ep_start", "ep_length")
"""Arrays of a replay buffer; the last two of one with goals only."""
CURRENT_EPISODE = "_current_ep_start"


def image_model(
    config: TrainConfig, envs: VecEnv, *, has_goals: bool, curves: Path | None, least_rows: int = 0
) -> SAC | PPO:
    """An untrained model; `curves`: folder for TensorBoard, `least_rows`: what its replay buffer must hold."""
    settings = config.settings
    policy = "MultiInputPolicy" if isinstance(envs.observation_space, spaces.Dict) else "CnnPolicy"
    common: dict[str, Any] = {
        "learning_rate": settings.learning_rate,
        "gamma": settings.gamma,
        "batch_size": settings.batch_size,
        "policy_kwargs": {"net_arch": list(settings.net_arch)},
        "seed": config.seed,
        "device": config.device,
        "tensorboard_log": str(curves) if curves else None,
    }
    if isinstance(settings, PpoSettings):
        names = ("gae_lambda", "n_epochs", "clip_range", "ent_coef", "vf_coef", "target_kl")
        common["policy_kwargs"]["log_std_init"] = settings.log_std_init
        common["n_steps"] = -(-settings.n_steps // config.n_envs)  # it counts those of each environment
        model: SAC | PPO = PPO(policy, envs, **common, **{name: getattr(settings, name) for name in names})
    else:
        if has_goals and settings.n_sampled_goal:
            goals = {"n_sampled_goal": settings.n_sampled_goal}
            common |= {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": goals}
        ratio = Fraction(settings.utd_ratio).limit_denominator(100)
        model = SAC(
            policy,
            envs,
            **common,
            tau=settings.tau,
            ent_coef=settings.ent_coef,
            target_entropy="auto" if settings.target_entropy is None else settings.target_entropy,
            buffer_size=max(least_rows, min(settings.buffer_size, config.total_timesteps)),  # images are large
            learning_starts=config.learning_starts,
            train_freq=ratio.denominator,
            gradient_steps=max(1, ratio.numerator) * config.n_envs,
        )
    if curves is None:  # or it would make a folder of its own in /tmp
        model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def is_finite(model: SAC | PPO) -> bool:
    """Whether all weights are numbers."""
    return all(bool(th.isfinite(parameter).all()) for parameter in model.policy.parameters())


def model_bytes(model: SAC | PPO) -> bytes:
    """The model as the zip that `model.save` writes."""
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()


def restore_model(model: SAC | PPO, saved: bytes) -> None:
    """Give a model of the same settings the weights and optimizers of `model_bytes`; nothing is unpickled."""
    _, parameters, variables = load_from_zip_file(io.BytesIO(saved), device=model.device, load_data=False)
    model.set_parameters(parameters, device=model.device)
    for name, value in (variables or {}).items():
        getattr(model, name).data = value.data


def save_replay(model: SAC | PPO, path: Path) -> None:
    """Write the rows of SAC's replay buffer as they are in memory; raises `StorageError`."""
    buffer = getattr(model, "replay_buffer", None)
    if buffer is None:
        return
    count = buffer.buffer_size if buffer.full else buffer.pos
    arrays = {name: array[:count] for name, array in _arrays(buffer).items()}
    if hasattr(buffer, CURRENT_EPISODE):
        arrays[CURRENT_EPISODE] = getattr(buffer, CURRENT_EPISODE)

    def write(file: BinaryIO) -> None:
        np.savez(file, pos=np.array(buffer.pos), **arrays)  # type: ignore[arg-type]

    try:
        replace_file_by(path, write)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}; free space") from None


def saved_rows(path: Path) -> int:
    """How many rows `save_replay` wrote, of all environments together; raises `StorageError`.

    They may be more than the steps of the state beside them: it is written last, and a kill may come before.
    """
    with _opened_replay(path) as saved:
        return int(saved["rewards"].size)


def restore_replay(model: SAC | PPO, path: Path) -> None:
    """Fill SAC's replay buffer with what `save_replay` wrote; raises `StorageError`."""
    buffer: Any = getattr(model, "replay_buffer", None)
    if buffer is None:
        return
    with _opened_replay(path) as saved:
        for name, array in _arrays(buffer).items():
            rows = saved[name]
            array[: len(rows)] = rows
        count, pos = len(saved["rewards"]), int(saved["pos"])
        if hasattr(buffer, CURRENT_EPISODE):
            getattr(buffer, CURRENT_EPISODE)[:] = saved[CURRENT_EPISODE]
    buffer.full = count == buffer.buffer_size
    buffer.pos = pos % buffer.buffer_size if buffer.full else count  # it may have had more room
    if isinstance(buffer, HerReplayBuffer):
        with warnings.catch_warnings(action="ignore"):  # it warns that it does what it is asked for
            buffer.truncate_last_trajectory()  # its end was never seen


@contextmanager
def _opened_replay(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as saved:
            yield saved
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}; check the folder") from None
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StorageError(f"{path} is damaged ({' '.join(str(error).split())}); train again") from None


def _arrays(buffer: Any) -> dict[str, NDArray[Any]]:
    """Every array of rows by name; of observations with parts, each part."""
    out: dict[str, NDArray[Any]] = {}
    for name in ROWS:
        found = getattr(buffer, name, None)
        if isinstance(found, dict):
            out |= {f"{name}.{key}": part for key, part in found.items()}
        elif found is not None:
            out[name] = found
    return out
