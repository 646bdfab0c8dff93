"""A cloned actor does what was demonstrated."""

import numpy as np
import pytest

from floop_robot.learn.behavior_cloning import clone_into
from floop_robot.learn.factory import build_ppo, build_sac
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.hyperparameters import BehaviorCloningSettings, PpoSettings, SacSettings
from floop_robot.spec.tasks import get_task

SPACE = PolicySpace.of(get_task("floop/Pick-v0").spec)


@pytest.mark.parametrize("algo", ["sac", "ppo"])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_the_mean_action_follows_the_demonstrations(algo: str, noise: float) -> None:
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((600, SPACE.observation.size)).astype(np.float32)
    actions = np.tanh(observations[:, : SPACE.action.size])
    model = (
        build_sac(SPACE, SacSettings(net_arch=(32, 32)), 0)[0]
        if algo == "sac"
        else build_ppo(SPACE, PpoSettings(net_arch=(32, 32)), 0)
    )
    before = float(np.mean((model.predict(observations, deterministic=True)[0] - actions) ** 2))
    settings = BehaviorCloningSettings(n_epochs=40, batch_size=64, learning_rate=3e-3, noise=noise)
    loss = clone_into(model, observations, actions, settings)
    after = float(np.mean((model.predict(observations, deterministic=True)[0] - actions) ** 2))
    assert after < 0.1 * before
    assert loss == pytest.approx(after, abs=0.02)
