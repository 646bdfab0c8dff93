"""What a stable-baselines3 zip holds, and its policy.

The description (`data`) is JSON. Which algorithm wrote it is told from that alone, before anything is unpickled. Then
only what a policy needs is: not its schedules, buffers and callbacks, which other versions of Python can't read.
"""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import load_from_zip_file

from floop_robot.learn.actor_network import UnreadablePolicy
from floop_robot.learn.mlp import Array

READS = "floop reads SAC, PPO, A2C, TD3 and DDPG of stable-baselines3"
_NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space", "_last_obs", "_last_original_obs")
_SIGNS = {
    "sac": {"target_entropy", "ent_coef", "tau"},
    "td3": {"policy_delay", "target_policy_noise"},
    "ppo": {"n_epochs", "clip_range", "gae_lambda"},
    "a2c": {"gae_lambda", "vf_coef"},
}
"""Settings by which the algorithm is known; the first that fits, since PPO has those of A2C."""
_OTHERS = {"exploration_fraction": "DQN", "cg_max_steps": "TRPO", "top_quantiles_to_drop_per_net": "TQC"}


class Sb3Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy of a zip, and what the zip tells of its training."""

    algo: str
    policy: BasePolicy
    last_obs: Array | None
    """What the policy saw last, shape (n_envs, …); None when it was never trained, or in a dictionary."""
    is_wrapped: bool
    """Whether it was certainly trained behind `VecNormalize`; which observations these changed is not in a zip."""


def read_zip(path: Path) -> Sb3Policy:
    """Load the policy of a zip, which runs what its author put in; that may raise more than `UnreadablePolicy`."""
    stored = _description(path)
    algo = _algorithm(stored)
    skipped = {name: None for name in stored if name not in _NEEDED}
    with warnings.catch_warnings(record=True) as said, path.open("rb") as file:
        warnings.simplefilter("always")
        try:
            data, parameters, _ = load_from_zip_file(file, custom_objects=skipped, device="cpu")
        except ModuleNotFoundError as error:
            raise UnreadablePolicy(_missing(error.name or "", path)) from None
        except AttributeError as error:
            raise UnreadablePolicy(
                f"a part of it can't be found here ({error}); put its module on PYTHONPATH"
            ) from None
    assert data is not None
    missing = [name for name in _NEEDED[:4] if data.get(name) is None]
    if missing:
        reason = " ".join(str(said[0].message).split("Exception:")[-1].split()) if said else "it is not in the file"
        raise UnreadablePolicy(f"its {missing[0]} can't be read ({reason}){_version(path)}")
    if "policy" not in parameters:
        raise UnreadablePolicy("it holds no policy.pth; save the model again with model.save")
    last, original = data.get("_last_obs"), data.get("_last_original_obs")
    return Sb3Policy(
        algo=algo,
        policy=_policy(data, dict(parameters["policy"]), bool(stored.get("use_sde"))),
        last_obs=last if isinstance(last, np.ndarray) else None,
        # On-policy algorithms keep the original beside it behind VecNormalize only.
        is_wrapped=algo in ("ppo", "a2c") and original is not None,
    )


def _description(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            stored = json.loads(archive.read("data"))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, RecursionError) as error:
        raise UnreadablePolicy(
            f"its description can't be read ({error}); save the model again with model.save"
        ) from None
    if not isinstance(stored, dict) or not isinstance(stored.get("policy_class"), dict):
        raise UnreadablePolicy("it names no policy class; save the model again with model.save")
    return stored


def _algorithm(stored: dict[str, Any]) -> str:
    module = str(_entry(stored, "policy_class").get("__module__", ""))
    if module.startswith("sb3_contrib"):
        raise UnreadablePolicy(f"it holds a policy of {module}; {READS}, none of sb3-contrib")
    for sign, name in _OTHERS.items():
        if sign in stored:
            raise UnreadablePolicy(f"it holds a {name} policy; {READS}")
    for algo, signs in _SIGNS.items():
        if signs <= stored.keys():
            is_ddpg = algo == "td3" and stored.get("policy_delay") == 1 and stored.get("target_noise_clip") == 0.0
            return "ddpg" if is_ddpg else algo
    raise UnreadablePolicy(f"it holds a policy of {module or 'an unknown module'}; {READS}")


def _entry(stored: dict[str, Any], name: str) -> dict[str, Any]:
    found = stored.get(name)
    return found if isinstance(found, dict) else {}


def _policy(data: dict[str, Any], weights: dict[str, Any], use_sde: bool) -> BasePolicy:
    options = {name: value for name, value in data["policy_kwargs"].items() if name != "device"}
    net_arch = options.get("net_arch")
    if isinstance(net_arch, list) and net_arch and isinstance(net_arch[0], dict):  # before stable-baselines3 1.8
        options["net_arch"] = net_arch[0]
    if use_sde:
        options["use_sde"] = True
    kind: type[BasePolicy] = data["policy_class"]
    policy = kind(data["observation_space"], data["action_space"], lambda _: 0.0, **options)
    policy.load_state_dict(weights)
    policy.set_training_mode(False)
    return policy


def _missing(module: str, path: Path) -> str:
    if module.split(".")[0] == "gym":
        return f"it needs gym, the predecessor of gymnasium{_version(path)}; load and save it with stable-baselines3 2"
    if module.split(".")[0] == "numpy":
        return f"it was saved with another numpy{_version(path)}; install that one, or load and save it with this one"
    return f"it needs the module {module}, which can't be imported here; put it on PYTHONPATH, or use MlpPolicy"


def _version(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            found = archive.read("_stable_baselines3_version").decode(errors="replace").strip()[:20]
    except (OSError, KeyError, zipfile.BadZipFile):
        return ""
    return f"; stable-baselines3 {found} wrote it"
