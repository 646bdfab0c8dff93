"""`floop train` in short: real physics, real helper process; what it leaves behind can be used."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType

import msgspec
import numpy as np
import pytest

from floop_robot.bundle import Bundle
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.spec.errors import ConfigError, FloopError, StorageError, UnknownName
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.train.stop_signals import TrainingInterrupted
from floop_robot.train.train import train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_progress import TrainProgress


def config(out: Path, **more: object) -> TrainConfig:
    short = {"total_timesteps": 250, "learning_starts": 100, "final_episodes": 3, "selection_episodes": 3}
    settings = {} if more.get("algo") == "ppo" else {"sac": SacSettings(net_arch=(16, 16))}
    return TrainConfig(**{**short, "out": str(out), **settings, **more})  # type: ignore[arg-type]


def test_a_short_run_leaves_policy_checkpoint_and_what_it_was_made_with(tmp_path: Path) -> None:
    seen: list[TrainProgress] = []
    result = train(config(tmp_path, demonstrations=6, prior_rows=150), seen.append)
    assert result.success is not None
    assert 0.0 <= result.success <= 1.0
    assert result.bc_success is not None
    assert result.transitions >= 250
    assert result.demonstration_transitions > 6 * 10
    assert result.gradient_steps > 100
    assert {"demonstrations", "behavior cloning", "learning", "final scenarios"} <= {p.phase for p in seen}
    actor = Bundle.load(Path(result.bundle)).checked_actor()
    checkpoint = Checkpoint.load(Path(result.checkpoint))
    assert {c.object_class for c in checkpoint.info.known.classes} <= {"box", "cylinder"}
    rows = checkpoint.prior_rows(actor.architecture.observation_size, 5)
    assert rows is not None
    assert 0 < len(rows) <= 150
    from stable_baselines3 import SAC

    stock = SAC.load(result.model, device="cpu")
    actions = stock.predict(rows.obs[:20], deterministic=True)[0]
    assert actions == pytest.approx(actor.mean_batch(rows.obs[:20]), abs=1e-4)
    again = msgspec.yaml.decode((tmp_path / "config.yaml").read_bytes(), type=TrainConfig)
    assert again.demonstrations == 6
    assert again.sac.unset == ("n_sampled_goal",), "complete: every value that acted"
    assert msgspec.json.decode((tmp_path / "result.json").read_bytes())["success"] == result.success


def test_two_trainings_into_one_folder_are_one_too_many(tmp_path: Path) -> None:
    refused: list[str] = []

    def second(_: TrainProgress) -> None:
        if not refused:
            with pytest.raises(StorageError) as caught:
                train(config(tmp_path, seed=7))
            refused.append(str(caught.value))

    train(config(tmp_path, total_timesteps=0, demonstrations=2), second)
    own = f"process {os.getpid()}"
    assert refused == [
        f"training folder {tmp_path} is in use by another process ({own}); wait for it, or choose another --out"
    ]
    assert msgspec.yaml.decode((tmp_path / "config.yaml").read_bytes(), type=TrainConfig).seed == 0


def test_ctrl_c_while_files_are_written_waits_until_they_belong_together(tmp_path: Path) -> None:
    class Interrupt:
        """Sends Ctrl-C when the first file of the new policy is there."""

        def __call__(self, frame: FrameType, event: str, _: object) -> None:
            if event == "return" and frame.f_code.co_name == "save_zip" and not (tmp_path / "policy.floop").exists():
                signal.raise_signal(signal.SIGINT)

    sys.setprofile(Interrupt())
    try:
        said = f"training had ended, and its policy is in {tmp_path}, but was not measured"
        with pytest.raises(TrainingInterrupted, match=said):
            train(config(tmp_path, total_timesteps=0, demonstrations=2))
    finally:
        sys.setprofile(None)
    files = {path.name for path in tmp_path.iterdir()}
    assert {"model.zip", "policy.floop", "policy.learner", "config.yaml"} <= files
    assert "result.json" not in files


@pytest.mark.slow
def test_the_same_seed_makes_the_same_policy(tmp_path: Path) -> None:
    made = [train(config(tmp_path / name, seed=3, demonstrations=6)) for name in ("a", "b")]
    tensors = [Bundle.load(Path(result.bundle)).arrays() for result in made]
    assert all((tensors[0][name] == tensors[1][name]).all() for name in tensors[0])
    assert made[0].transitions == made[1].transitions


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_any_continuous_gymnasium_environment_trains(algo: str, tmp_path: Path) -> None:
    ppo = PpoSettings(net_arch=(16, 16), n_steps=128, batch_size=64, n_epochs=2)
    settings = {"ppo": ppo} if algo == "ppo" else {}
    result = train(config(tmp_path, env="Pendulum-v1", algo=algo, total_timesteps=600, **settings))
    assert result.success is None, "a pendulum does not tell success"
    assert result.mean_return < 0.0
    assert result.gradient_steps > 0
    from stable_baselines3 import PPO, SAC

    stock = (SAC if algo == "sac" else PPO).load(result.model, device="cpu")
    obs = np.array([1.0, 0.0, 3.0], np.float32)
    action = stock.predict(obs, deterministic=True)[0]
    assert action == pytest.approx(2.0 * Bundle.load(Path(result.bundle)).actor().mean(obs), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"task": "floop/Pik-v0"}, UnknownName, "floop/Pick-v0"),
        ({"env": "Pendulun-v1"}, UnknownName, "Pendulum-v1"),
        ({"env": "CartPole-v1"}, ConfigError, "continuous actions"),
        ({"env": "Pendulum-v1", "demonstrations": 3}, FloopError, "no demonstrations"),
        ({"algo": "td3"}, ConfigError, "sac or ppo"),
        ({"total_timesteps": 0}, ConfigError, "total_timesteps is 0 and there are no demonstrations"),
        ({"seed": -1}, ConfigError, r"seed: expected a whole number >= 0 \(-1\)"),
        (
            {"sac": SacSettings(value_range=(float("nan"), 1.0))},
            ConfigError,
            r"sac.value_range\[0\]: expected a number",
        ),
        ({"until_success": 1.5}, ConfigError, "until_success"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, object], error: type[Exception], says: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=says) as caught:
        train(config(tmp_path, **options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("algo", "first"), [("sac", 100), ("ppo", 2048)])
def test_a_training_without_a_gradient_step_says_so(
    algo: str, first: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(config(tmp_path, env="Pendulum-v1", algo=algo, total_timesteps=40, final_episodes=1))
    assert result.gradient_steps == 0
    assert f"no gradient step in 40 steps, since the first comes after {first}; give more --steps" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"cannot use training folder .*; choose a writable folder"):
        train(config(tmp_path / "run"))


def test_a_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(StorageError, match=r"cannot use training folder .*; choose a writable folder"):
        train(config(tmp_path / "run"))


def test_curves_for_tensorboard_hold_success_and_losses_over_transitions(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(config(tmp_path, tensorboard=True, total_timesteps=450))
    assert result.gradient_steps > 0
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {
        "rollout/ep_rew_mean",
        "rollout/ep_len_mean",
        "rollout/success_rate",
        "time/fps",
        "time/total_timesteps",
        "train/actor_loss",
        "train/critic_loss",
        "train/ent_coef",
        "train/learning_rate",
    } <= set(events.Tags()["scalars"])
    steps = [point.step for point in events.Scalars("train/gradient_steps")]
    assert steps == sorted(steps)
    assert steps[-1] == result.transitions
    assert events.Scalars("train/gradient_steps")[-1].value == result.gradient_steps
