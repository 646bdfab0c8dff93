"""What leaves the learner acts as what was trained, with raw observations, and without floop."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from floop_robot.bundle import Bundle
from floop_robot.learn.export import save_zip, to_bundle
from floop_robot.learn.factory import build_ppo, build_sac
from floop_robot.learn.mlp import Array
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.errors import BundleRefused
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.spec.ids import ids_of
from floop_robot.spec.layout import Field, Layout
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

RULES = get_task("floop/Pick-v0")
SPACE = PolicySpace.of(RULES.spec)
# A directory of this venv's packages without floop: an editable install would make it importable.
STOCK = """
import importlib.abc, sys
class Without(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0].startswith("floop"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
import numpy as np, stable_baselines3
kind, zip_file, data_file = sys.argv[1:]
data = np.load(data_file)
model = getattr(stable_baselines3, kind).load(zip_file, device="cpu")
actions, _ = model.predict(data["observations"], deterministic=True)
assert not any(name.startswith("floop") for name in sys.modules), "floop was imported"
error = float(np.abs(actions - data["actions"]).max())
assert error < 2e-5, error
print("alike")
"""


def raw_observations(count: int) -> Array:
    rng = np.random.default_rng(0)
    layout = RULES.spec.observation
    noise = rng.standard_normal((count, layout.size)).astype(np.float32)
    return np.clip(layout.offset + layout.scale * noise, layout.low, layout.high)


@pytest.mark.parametrize("kind", ["SAC", "PPO"])
def test_zip_loads_in_stock_without_floop_and_acts_alike(kind: str, tmp_path: Path) -> None:
    model = build_sac(SPACE, SacSettings(), 1)[0] if kind == "SAC" else build_ppo(SPACE, PpoSettings(), 1)
    observations = raw_observations(200)
    actions, _ = model.predict(SPACE.normalizer(observations), deterministic=True)
    save_zip(model, SPACE, tmp_path / "model.zip")
    np.savez(tmp_path / "data.npz", observations=observations, actions=actions)
    command = [sys.executable, "-c", STOCK, kind, "model.zip", "data.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "alike", done.stderr


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_zip_acts_in_the_units_of_the_action_space(algo: str, tmp_path: Path) -> None:
    from stable_baselines3 import PPO, SAC

    action = Layout(fields=(Field(name="torque", size=1, unit="N m", low=-2.0, high=4.0),))
    space = PolicySpace(RULES.spec.observation, action)
    sac = algo == "sac"
    model = build_sac(space, SacSettings(), 1)[0] if sac else build_ppo(space, PpoSettings(), 1)
    save_zip(model, space, tmp_path / "model.zip")
    stock = (SAC if sac else PPO).load(tmp_path / "model.zip", device="cpu")
    observations = raw_observations(50)
    normalized, _ = model.predict(space.normalizer(observations), deterministic=True)
    in_units, _ = stock.predict(observations, deterministic=True)
    assert in_units == pytest.approx(1.0 + 3.0 * normalized, abs=1e-4)


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_bundle_takes_raw_observations_and_acts_alike(algo: str) -> None:
    model = build_sac(SPACE, SacSettings(), 2)[0] if algo == "sac" else build_ppo(SPACE, PpoSettings(), 2)
    observations = raw_observations(100)
    ids = ids_of(RULES, load_robot("panda"))
    bundle = to_bundle(model, RULES.spec, ids, observations)
    assert bundle.manifest.algo == algo
    actor = Bundle.from_bytes(bundle.to_bytes()).checked_actor()
    expected, _ = model.predict(SPACE.normalizer(observations), deterministic=True)
    assert actor.mean_batch(observations) == pytest.approx(expected, abs=1e-5)


def test_diverged_weights_never_become_a_bundle() -> None:
    model = build_sac(SPACE, SacSettings(), 3)[0]
    model.numpy_parameters().actor.params[5] = np.nan
    with pytest.raises(BundleRefused):
        to_bundle(model, RULES.spec, ids_of(RULES, load_robot("panda")), raw_observations(4))
