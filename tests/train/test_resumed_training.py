"""What a training that goes on still has: its weights, its clone, its budget, its scales and its figures."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import msgspec
import pytest

from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.train.monitor_file import MonitorFile
from floop_robot.train.run_counters import RecentEpisode
from floop_robot.train.stop_signals import TrainingInterrupted
from floop_robot.train.train import resume, train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_progress import TrainProgress
from floop_robot.train.training_state import load_state

ROBOTS = Path(__file__).parents[2] / "config" / "robots"


def config(out: Path, **more: object) -> TrainConfig:
    short = {"final_episodes": 1, "selection_episodes": 1, "n_eval_episodes": 1, "eval_freq": 300}
    options = {"env": "Pendulum-v1", "total_timesteps": 400, "out": str(out), "sac": SacSettings(net_arch=(16,))}
    return TrainConfig(**{**short, **options, **more})  # type: ignore[arg-type]


def interrupt_in(phase: str, nth: int = 1):  # type: ignore[no-untyped-def]
    seen: list[str] = []

    def show(progress: TrainProgress) -> None:
        seen.append(progress.phase)
        if progress.phase == phase and seen.count(phase) == nth:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    return show


def test_ctrl_c_during_the_last_selection_leaves_the_weights_to_go_on_with(tmp_path: Path) -> None:
    saved: list[bytes] = []
    stop = interrupt_in("selecting", 2)  # that of the leader by evaluation, after that of the latest weights

    def show(progress: TrainProgress) -> None:
        if progress.phase == "selecting":
            saved.append((tmp_path / "training.state").read_bytes())
        stop(progress)

    with pytest.raises(TrainingInterrupted, match="go on with floop train --resume"):
        train(config(tmp_path), show)
    assert len(saved) == 2 and (tmp_path / "training.state").read_bytes() == saved[0]
    _, arrays = load_state(tmp_path / "training.state")
    assert (arrays["algo.actor"] != arrays["leader.actor"]).any()


def test_ctrl_c_during_cloning_keeps_nothing_that_would_go_on_without_it(tmp_path: Path) -> None:
    task = {"env": "", "demonstrations": 2, "total_timesteps": 60, "eval_freq": 0, "n_eval_episodes": 5}
    with pytest.raises(TrainingInterrupted, match="nothing was kept"):
        train(config(tmp_path, **task), interrupt_in("behavior cloning"))
    assert not (tmp_path / "training.state").exists() and not (tmp_path / "policy.floop").exists()


def test_what_follows_from_the_steps_follows_the_new_steps() -> None:
    given = TrainConfig(env="Pendulum-v1", total_timesteps=2000)
    short = given.effective("cpu")
    longer = msgspec.structs.replace(short, total_timesteps=50_000)
    for config_, rows, period in ((short, 2000, 200), (longer, 50_000, 5000)):
        assert isinstance(config_.settings_in_budget, SacSettings)
        assert config_.settings_in_budget.buffer_size == rows and config_.evaluation_period == period
    own = msgspec.structs.replace(given, eval_freq=70, sac=SacSettings(buffer_size=900)).effective("cpu")
    own = msgspec.structs.replace(own, total_timesteps=50_000)
    assert isinstance(own.settings_in_budget, SacSettings)
    assert own.settings_in_budget.buffer_size == 900 and own.evaluation_period == 70


ENV = """
import gymnasium as gym
import numpy as np
from pathlib import Path

class Wide(gym.Env):
    action_space = gym.spaces.Box(-1, 1, (1,))
    def __init__(self):
        self.size, width = map(int, Path("size").read_text().split())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (width,))
    def see(self):
        return self.np_random.normal(0, self.size, self.observation_space.shape).astype(np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.see(), {}
    def step(self, action):
        return self.see(), 0.0, bool(self.np_random.random() < 0.1), False, {}

gym.register("Wide-v0", entry_point=Wide, max_episode_steps=20)
"""


def test_other_scales_in_random_play_are_no_other_environment_and_a_refusal_keeps_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wide_env.py").write_text(ENV)
    (tmp_path / "size").write_text("1 2")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "run"
    train(config(out, env="wide_env:Wide-v0", total_timesteps=60))
    (tmp_path / "size").write_text("1 3")
    with pytest.raises(ConfigError, match="is not as it was when the training"):
        resume(out, total_timesteps=100)
    assert (out / "result.json").exists()
    before, _ = load_state(out / "training.state")
    (tmp_path / "size").write_text("100 2")
    assert resume(out, total_timesteps=100).transitions == 100
    after, _ = load_state(out / "training.state")
    assert (after.task, after.ids) == (before.task, before.ids)


def test_the_curve_on_disk_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "monitor.csv"
    with MonitorFile(path, 'a"b\n') as file:
        for i in range(3):
            file.write(RecentEpisode(success=False, total_reward=float(i), steps=7))
    first = path.stat().st_ino
    with MonitorFile(path, 'a"b\n', episodes=2):
        head, names, *lines = path.read_text().splitlines()
    assert path.stat().st_ino != first and names == "r,l,t"
    assert msgspec.json.decode(head[1:])["env_id"] == 'a"b\n'
    assert [line.split(",")[0] for line in lines] == ["0.000000", "1.000000"]


def test_the_environment_of_callbacks_has_the_arm_that_trains(tmp_path: Path) -> None:
    from floop_robot.train.sb3_callbacks import _environment

    mine = tmp_path / "mine.yaml"
    mine.write_text((ROBOTS / "panda.yaml").read_text().replace("name: panda\n", "name: mine\n", 1))
    shutil.copy(ROBOTS / "panda.urdf", tmp_path)
    env = _environment(TrainConfig(robot=str(mine)))
    assert env.unwrapped.robot.name == "mine"  # type: ignore[attr-defined]
    env.close()
