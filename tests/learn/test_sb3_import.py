"""A zip of stock stable-baselines3 acts as its `predict(deterministic=True)`, or is refused by name."""

from __future__ import annotations

import base64
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from floop_robot.bundle import Bundle
from floop_robot.bundle.bundle import FORMAT, FORMAT_MORE
from floop_robot.learn.sb3_import import UntrustedZip, bundle_from_zip
from floop_robot.spec.ids import Ids
from floop_robot.spec.layout import Field, Layout
from floop_robot.spec.task import TaskSpec

TASK = TaskSpec(
    id="test/Press-v0",
    meaning="a task of the tests",
    observation=Layout(
        (
            Field(name="position", size=3, unit="m", low=-1, high=1, offset=0.3, scale=0.2),
            Field(name="width", size=1, unit="m", low=0, high=0.08, offset=0.04, scale=0.04),
            Field(name="constant", size=1, unit="", low=0, high=1),
        )
    ),
    action=Layout((Field(name="push", size=2, unit="N", low=-2, high=4),)),
    policy_rate_hz=20,
    max_steps=50,
)
IDS = Ids(contract="c", limits="l", reward="r")
OBSERVATION = spaces.Box(TASK.observation.low, TASK.observation.high)
ACTION = spaces.Box(TASK.action.low, TASK.action.high)


class Press(gym.Env[Any, Any]):
    """Random observations, none of which moves `constant`."""

    def __init__(self, observation: spaces.Space[Any] = OBSERVATION, action: spaces.Space[Any] = ACTION) -> None:
        self.observation_space, self.action_space = observation, action

    def _seen(self) -> Any:
        seen = self.observation_space.sample()
        if isinstance(seen, np.ndarray) and seen.shape == (5,):
            seen[4] = 0.7
        return seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._seen(), 0.0, False, False, {}


def model(kind: Callable[..., BaseAlgorithm], env: Any = None, policy: str = "MlpPolicy", **options: Any) -> Any:
    """An untrained model whose weights are not those of its initialization."""
    small = {"buffer_size": 100, "learning_starts": 4} if kind in (SAC, TD3, DDPG, DQN) else {"n_steps": 8}
    small |= {"batch_size": 8} if kind is PPO else {}
    kwargs = {"net_arch": [16, 16]} | options.pop("kwargs", {})
    made = kind(policy, env or Press(), policy_kwargs=kwargs, device="cpu", seed=0, **small, **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in made.policy.parameters():
        parameter.data.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return made


def imported(made: BaseAlgorithm, folder: Path, statistics: VecNormalize | None = None) -> Bundle:
    made.save(folder / "model.zip")
    if statistics is not None:
        statistics.save(str(folder / "statistics.pkl"))
    return bundle_from_zip(folder / "model.zip", TASK, IDS, folder / "statistics.pkl" if statistics else None)


def refusal(made: BaseAlgorithm, folder: Path, statistics: VecNormalize | None = None) -> str:
    with pytest.raises(UntrustedZip) as refused:
        imported(made, folder, statistics)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(str(folder / "model.zip"))
    return line


def assert_alike(bundle: Bundle, made: BaseAlgorithm, statistics: VecNormalize | None = None) -> None:
    rng = np.random.default_rng(7)
    raw = rng.uniform(OBSERVATION.low, OBSERVATION.high, (1000, 5)).astype(np.float32)
    raw[:500, 4] = 0.7
    seen = statistics.normalize_obs(raw) if statistics else raw
    expected, _ = made.predict(seen, deterministic=True)
    actor = Bundle.from_bytes(bundle.to_bytes()).checked_actor()
    assert 1.0 + 3.0 * actor.mean_batch(raw) == pytest.approx(expected, abs=3e-5)  # 1e-5 of half the range
    assert 1.0 + 3.0 * actor.mean(raw[0]) == pytest.approx(expected[0], abs=3e-5)
    assert np.ptp(expected, axis=0).min() > 0.1


KINDS = {
    "sac": (SAC, {}),
    "ppo": (PPO, {}),
    "a2c": (A2C, {}),
    "td3": (TD3, {}),
    "ddpg": (DDPG, {}),
    "sac gsde": (SAC, {"use_sde": True}),
    "sac gsde, limited means": (SAC, {"use_sde": True, "kwargs": {"clip_mean": 0.3, "use_expln": True}}),
    "ppo gsde": (PPO, {"use_sde": True}),
    "ppo gsde, squashed": (PPO, {"use_sde": True, "kwargs": {"squash_output": True}}),
    "a2c gsde": (A2C, {"use_sde": True, "kwargs": {"full_std": False}}),
    "ppo without hidden layers": (PPO, {"kwargs": {"net_arch": []}}),
    "sac without hidden layers": (SAC, {"kwargs": {"net_arch": []}}),
    "td3 without hidden layers": (TD3, {"kwargs": {"net_arch": []}}),
    "ppo with separate nets": (PPO, {"kwargs": {"net_arch": {"pi": [8], "vf": [16, 16]}}}),
    "sac with separate nets": (SAC, {"kwargs": {"net_arch": {"pi": [8], "qf": [16]}}}),
    "ppo without shared extractor": (PPO, {"kwargs": {"share_features_extractor": False}}),
} | {
    f"ppo {activation.__name__}": (PPO, {"kwargs": {"activation_fn": activation}})
    for activation in (nn.ReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Sigmoid, nn.Softplus, nn.Mish)
}


@pytest.mark.parametrize("name", KINDS)
def test_policies_act_as_in_stable_baselines(name: str, tmp_path: Path) -> None:
    kind, options = KINDS[name]
    made = model(kind, **{key: dict(value) if key == "kwargs" else value for key, value in options.items()})
    bundle = imported(made, tmp_path)
    assert bundle.manifest.algo == name.split()[0]
    assert_alike(bundle, made)


def test_what_robots_one_version_back_do_not_know_has_another_format(tmp_path: Path) -> None:
    assert FORMAT.encode() in imported(model(PPO), tmp_path).to_bytes()
    for made in (model(TD3), model(PPO, kwargs={"activation_fn": nn.ELU})):
        assert FORMAT_MORE.encode() in imported(made, tmp_path).to_bytes()


@pytest.mark.parametrize("kind", [PPO, SAC])
def test_statistics_are_taken_along(kind: Any, tmp_path: Path) -> None:
    statistics = VecNormalize(DummyVecEnv([Press]), clip_obs=1.2, epsilon=1e-6)
    made = model(kind, statistics)
    made.set_logger(Logger(folder=None, output_formats=[]))  # or it makes a folder in /tmp
    made.learn(32)
    assert "--vecnormalize" in refusal(made, tmp_path)
    bundle = imported(made, tmp_path, statistics)
    assert bundle.manifest.normalization.limit == 1.2
    assert_alike(bundle, made, statistics)


def test_statistics_of_rewards_alone_change_no_observation(tmp_path: Path) -> None:
    statistics = VecNormalize(DummyVecEnv([Press]), norm_obs=False)
    made = model(PPO, statistics)
    made.set_logger(Logger(folder=None, output_formats=[]))
    made.learn(16)
    assert "VecNormalize" in refusal(made, tmp_path)
    assert_alike(imported(made, tmp_path, statistics), made)


def test_statistics_that_do_not_fit_are_named(tmp_path: Path) -> None:
    made = model(PPO)
    other = VecNormalize(DummyVecEnv([partial(Press, spaces.Box(-1, 1, (7,)))]))
    assert "normalizes observations of shape (7,), test/Press-v0 has 5 numbers" in refusal(made, tmp_path, other)
    far = VecNormalize(DummyVecEnv([Press]))
    far.obs_rms.mean[3] = 9.0
    assert "the mean of width is 9, its range is 0 to 0.08" in refusal(made, tmp_path, far)
    far.obs_rms.mean[3] = np.nan
    assert "holds NaN" in refusal(made, tmp_path, far)
    nested = VecNormalize(DummyVecEnv([partial(Press, spaces.Dict({"a": OBSERVATION}))]))
    assert "a dictionary of observations" in refusal(made, tmp_path, nested)
    made.save(tmp_path / "model.zip")
    for content, says in ((b"hello", "UnpicklingError"), (b"\x80\x04K\x01.", "holds a int")):
        (tmp_path / "wrong.pkl").write_bytes(content)
        with pytest.raises(UntrustedZip, match=says):
            bundle_from_zip(tmp_path / "model.zip", TASK, IDS, tmp_path / "wrong.pkl")


class Halving(BaseFeaturesExtractor):
    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 5)

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return 0.5 * seen


def wide(low: float, high: float) -> spaces.Box:
    return spaces.Box(low, high, (2,))


REFUSED = {
    "dqn": (partial(model, DQN, Press(action=spaces.Discrete(3))), "a DQN policy"),
    "discrete actions": (partial(model, PPO, Press(action=spaces.Discrete(3))), "its actions are Discrete(3)"),
    "discrete observations": (partial(model, PPO, Press(spaces.Discrete(4))), "its observations are Discrete(4)"),
    "a dictionary": (
        partial(model, PPO, Press(spaces.Dict({"a": OBSERVATION})), "MultiInputPolicy"),
        "its observations are a dictionary (a)",
    ),
    "images": (
        partial(model, PPO, Press(spaces.Box(0, 255, (36, 36, 3), np.uint8)), "CnnPolicy"),
        "its observations have shape (3, 36, 36)",
    ),
    "fewer observations": (partial(model, PPO, Press(spaces.Box(-1, 1, (4,)))), "have shape (4,)"),
    "observations of other ranges": (
        partial(model, PPO, Press(spaces.Box(-1, 1, (5,)))),
        "width (number 3) ranges from -1 to 1, that of test/Press-v0 from 0 to 0.08",
    ),
    "unbounded observations": (partial(model, SAC, Press(spaces.Box(-np.inf, np.inf, (5,)))), "from -inf to inf"),
    "actions of another range": (
        partial(model, SAC, Press(action=wide(-1, 1))),
        "its action push[0] (number 0) ranges from -1 to 1, that of test/Press-v0 from -2 to 4",
    ),
    "ppo actions of another range": (partial(model, PPO, Press(action=wide(-4, 4))), "from -4 to 4"),
    "more actions": (partial(model, TD3, Press(action=spaces.Box(-2, 4, (3,)))), "its actions have shape (3,)"),
    "another activation": (partial(model, PPO, kwargs={"activation_fn": nn.Hardswish}), "its activation is Hardswish"),
    "an option of an activation": (
        partial(model, PPO, kwargs={"activation_fn": partial(nn.LeakyReLU, 0.3)}),
        "negative_slope=0.3",
    ),
    "a features extractor": (
        partial(model, SAC, kwargs={"features_extractor_class": Halving}),
        "its features extractor is Halving",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_bundle_cannot_hold_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, says = REFUSED[name]
    assert says in refusal(make(), tmp_path)


def test_a_policy_that_acts_otherwise_than_its_network_is_refused(tmp_path: Path) -> None:
    from stable_baselines3.sac.policies import SACPolicy

    class Timid(SACPolicy):
        def predict(self, *args: Any, **kwargs: Any) -> Any:
            actions, state = super().predict(*args, **kwargs)
            return 0.9 * actions, state

    made = model(SAC, policy=Timid)  # type: ignore[arg-type]
    made.policy_class = Timid
    assert "answers" in refusal(made, tmp_path) or "differs by" in refusal(made, tmp_path)


def test_nan_weights_are_named(tmp_path: Path) -> None:
    made = model(PPO)
    made.policy.action_net.weight.data[0, 0] = torch.nan
    assert "NaN or infinity (mean.weight)" in refusal(made, tmp_path)


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the description of a zip."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    data = json.loads(parts["data"])
    change(data)
    parts["data"] = json.dumps(data).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def named(module: str) -> str:
    """A pickle of a class of a module that is not here, as zips hold it."""
    return base64.b64encode(f"c{module}\nBox\n.".encode()).decode()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["policy_class"].update(__module__="sb3_contrib.tqc.policies"), "sb3_contrib.tqc.policies"),
        (lambda d: d.pop("policy_class"), "names no policy class"),
        (lambda d: d.pop("observation_space"), "its observation_space can't be read"),
        (lambda d: d["action_space"].update({":serialized:": named("gym.spaces.box")}), "needs gym"),
        (lambda d: d["policy_kwargs"].update({":serialized:": "!!!"}), "can't be read"),
        (lambda d: d["policy_kwargs"].update({":serialized:": named("my_nets")}), "needs the module my_nets"),
    ],
)
def test_zips_of_other_packages_and_versions_are_refused(change: Any, says: str, tmp_path: Path) -> None:
    model(PPO).save(tmp_path / "model.zip")
    changed(tmp_path / "model.zip", change)
    with pytest.raises(UntrustedZip) as refused:
        bundle_from_zip(tmp_path / "model.zip", TASK, IDS)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_zip_cut_short_inside_is_refused(tmp_path: Path) -> None:
    model(PPO).save(tmp_path / "model.zip")
    whole = (tmp_path / "model.zip").read_bytes()
    for at in range(200, len(whole), len(whole) // 12):
        (tmp_path / "flipped.zip").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            bundle_from_zip(tmp_path / "flipped.zip", TASK, IDS)
        except UntrustedZip as error:
            assert "\n" not in str(error)
