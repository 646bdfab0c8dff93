"""A training that is stopped, killed or broken: what was learned is kept, and it goes on where it was."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.monitor import Monitor

from floop_robot.bundle import Bundle
from floop_robot.spec.errors import ConfigError, EnvironmentFailed, StorageError, UnknownName
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.train.recipe import config_of, read_recipe
from floop_robot.train.train import resume, train
from floop_robot.train.train_config import TrainConfig
from floop_robot.train.train_output import TrainResult
from floop_robot.train.train_progress import TrainProgress

SHORT = {"final_episodes": 2, "selection_episodes": 2, "eval_freq": 400, "n_eval_episodes": 1}


def config(out: Path, **more: object) -> TrainConfig:
    options = {**SHORT, "env": "Pendulum-v1", "out": str(out), "sac": SacSettings(net_arch=(16, 16), utd_ratio=0.5)}
    if more.get("env") == "":
        options = {"final_episodes": 2, "selection_episodes": 2, "out": str(out)}
    return TrainConfig(**{"total_timesteps": 500, **options, **more})  # type: ignore[arg-type]


def tensors(folder: Path) -> dict[str, np.ndarray]:
    return Bundle.load(folder / "policy.floop").arrays()


def same(a: Path, b: Path) -> bool:
    return all((tensors(a)[name] == tensors(b)[name]).all() for name in tensors(a))


def episodes(folder: Path) -> list[tuple[str, str]]:
    """Return and length of each episode, as in a file of stable-baselines3's Monitor."""
    head, names, *lines = (folder / "monitor.csv").read_text().splitlines()
    assert msgspec.json.decode(head[1:])["env_id"] and names == "r,l,t"
    return [tuple(line.split(",")[:2]) for line in lines]  # type: ignore[misc]


@pytest.fixture(autouse=True)
def nobody_handles_sigterm() -> Iterator[None]:
    """Processes that other tests run in this one leave handlers of theirs, and floop leaves those alone."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def stop_at(steps: int, number: int = signal.SIGINT):  # type: ignore[no-untyped-def]
    def show(progress: TrainProgress) -> None:
        if progress.phase == "learning" and progress.transitions >= steps:
            signal.raise_signal(number)

    return show


@pytest.mark.parametrize(("algo", "number"), [("sac", signal.SIGINT), ("ppo", signal.SIGTERM)])
def test_a_stopped_training_of_a_task_ends_with_the_same_weights_as_one_that_was_not(
    algo: str, number: int, tmp_path: Path
) -> None:
    ppo = PpoSettings(net_arch=(16, 16), n_steps=64, batch_size=32, n_epochs=1)
    settings = {"ppo": ppo} if algo == "ppo" else {"sac": SacSettings(net_arch=(16, 16), utd_ratio=0.5)}
    task = {"env": "", "algo": algo, "total_timesteps": 400, "learning_starts": 100, "demonstrations": 2, **settings}
    train(config(tmp_path / "whole", **task))
    with pytest.raises(KeyboardInterrupt) as stopped:
        train(config(tmp_path / "parts", **task), stop_at(200, number))
    said = str(stopped.value)
    assert f"is in {tmp_path / 'parts'}; go on with floop train --resume {tmp_path / 'parts'}" in said
    assert stopped.value.status == 128 + number  # type: ignore[attr-defined]
    assert Bundle.load(tmp_path / "parts" / "policy.floop").checked_actor(), "what was learned is there"
    assert SAC.load(tmp_path / "parts" / "model.zip") if algo == "sac" else True
    result = resume(tmp_path / "parts")
    assert result.transitions >= 400
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_the_written_recipe_makes_the_same_curve(tmp_path: Path) -> None:
    train(config(tmp_path / "a", sac=SacSettings(gamma=0.9, net_arch=(16, 16)), checkpoint_interval_s=0.05))
    recipe = read_recipe(tmp_path / "a" / "config.yaml")
    assert recipe["sac"]["gamma"] == 0.9 and recipe["sac"]["reward_scale"] == 1.0 and recipe["learning_starts"] == 100
    again = config_of(recipe, {"out": str(tmp_path / "b"), "checkpoint_interval_s": 100.0})
    train(again)
    assert same(tmp_path / "a", tmp_path / "b")
    curves = [episodes(tmp_path / name) for name in ("a", "b")]
    assert curves[0] == curves[1]
    assert [length for _, length in curves[0]] == ["200", "200"]


@pytest.mark.parametrize("name", ["Closed", "ClosedImage"])
def test_an_environment_that_raises_keyboard_interrupt_is_no_user_who_stops(name: str, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailed, match=r"raised KeyboardInterrupt .*at step 2 of"):
        train(config(tmp_path, env=f"tests.support.odd_envs:{name}-v0"))


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = (
        "from tests.train.test_stopped_training import *\n"
        f"train(config(Path({str(out)!r}), total_timesteps=100_000, checkpoint_interval_s=0.1))"
    )
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not (out / "training.state").exists():
            assert time.monotonic() < deadline and killed.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    assert Bundle.load(out / "policy.floop").checked_actor()
    result = resume(out, total_timesteps=600)
    assert result.transitions == 600 and result.ended == "its steps are used up"
    with pytest.raises(ConfigError, match="has made 600 steps already; give --steps more than 600"):
        resume(out, total_timesteps=500)
    with pytest.raises(ConfigError, match="used up its steps after 600 steps; give --steps more than 600"):
        resume(out)
    assert resume(out, total_timesteps=700).transitions == 700
    assert 1 <= len(episodes(out)) <= 3


def test_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no training to resume"):
        resume(tmp_path)
    train(config(tmp_path, total_timesteps=60))
    for name in ("training.rows", "training.state"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
        with pytest.raises(StorageError, match=f"{name} is damaged"):
            resume(tmp_path, total_timesteps=200)
        (tmp_path / name).write_bytes(whole)
    assert resume(tmp_path, total_timesteps=120).transitions == 120


def test_a_folder_that_holds_a_training_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    train(config(tmp_path, total_timesteps=60))
    with pytest.raises(ConfigError, match=f"--resume {tmp_path}, --overwrite or another --out"):
        train(config(tmp_path, total_timesteps=60))
    assert train(config(tmp_path, total_timesteps=80), overwrite=True).transitions == 80


def test_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "train_4").mkdir(parents=True)
    numbered = msgspec.structs.replace(config(tmp_path, total_timesteps=60), out="")
    assert train(numbered).out == "runs/train_5"


ENVS = """
import gymnasium as gym
import numpy as np

class Coin(gym.Env):
    action_space = gym.spaces.Box(-1, 1, (1,))
    observation_space = gym.spaces.Box(-1, 1, (2,))
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.win, self.t = float(self.np_random.random() < 0.5), 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}
    def step(self, action):
        self.t += 1
        if FAIL and self.np_random.random() < 0.01 and STEPS[0] > 300:
            raise ConnectionError("simulator went away")
        STEPS[0] += 1
        return np.zeros(2, np.float32), self.win if self.t == 1 else 0.0, False, self.t >= 4, {}

STEPS, FAIL = [0], __name__.startswith("broken")
gym.register(f"{__name__}-v0", entry_point=Coin)
"""


@pytest.fixture
def coins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("coin_env", "broken_env"):
        (tmp_path / f"{name}.py").write_text(ENVS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_final_figure_is_that_of_the_written_policy_on_fresh_episodes(coins: Path) -> None:
    result = train(config(coins / "run", env="coin_env:coin_env-v0", total_timesteps=100, final_episodes=200))
    assert result.success is None
    assert 0.35 < result.mean_return < 0.65, "half of the episodes are won, whatever is done"
    assert msgspec.json.decode((coins / "run/result.json").read_bytes(), type=TrainResult) == result


def test_an_environment_that_breaks_leaves_what_was_learned(coins: Path) -> None:
    with pytest.raises(EnvironmentFailed) as failed:
        train(config(coins / "run", env="broken_env:broken_env-v0", total_timesteps=20_000, eval_freq=100_000))
    line = str(failed.value)
    assert "simulator went away" in line and f"is in {coins / 'run'}; go on with" in line and "\n" not in line
    assert Bundle.load(coins / "run" / "policy.floop").checked_actor()
    assert not (coins / "run" / "result.json").exists()


def test_an_error_of_a_callback_leaves_what_was_learned(tmp_path: Path) -> None:
    calls: list[int] = []

    def breaks(local_names: dict[str, object], global_names: dict[str, object]) -> bool:
        calls.append(1)
        return 1 / (len(calls) < 20) > 0

    with pytest.raises(ZeroDivisionError) as failed:
        train(config(tmp_path), callback=breaks)
    assert Bundle.load(tmp_path / "policy.floop").checked_actor()
    assert f"is in {tmp_path}" in "".join(failed.value.__notes__)


def test_weights_that_are_not_finite_replace_nothing(tmp_path: Path) -> None:
    from floop_robot.train.training_run import TrainingDiverged

    train(config(tmp_path, total_timesteps=300))
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".zip", ".floop")}
    import floop_robot.train.training_run as module

    class Poisoned(module.TrainingRun):
        def _update(self) -> None:
            super()._update()
            self.algorithm.arrays()["actor"][:] = np.nan

    original, module_train = module.TrainingRun, sys.modules["floop_robot.train.train"]
    module_train.TrainingRun = Poisoned  # type: ignore[attr-defined]
    try:
        with pytest.raises(TrainingDiverged, match=r"training diverged within \d+ steps: .*lower sac.learning_rate"):
            resume(tmp_path, total_timesteps=900)
    finally:
        module_train.TrainingRun = original  # type: ignore[attr-defined]
    assert good == {name: (tmp_path / name).read_bytes() for name in good}


class Watch(BaseCallback):
    def __init__(self) -> None:
        super().__init__()
        self.events, self.returns = [], []  # type: ignore[var-annotated]

    def _on_training_start(self) -> None:
        self.events.append("start")

    def _on_training_end(self) -> None:
        self.events.append("end")

    def _on_step(self) -> bool:
        assert self.num_timesteps == self.n_calls
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return self.num_timesteps < 450


def test_callbacks_of_stable_baselines3_see_every_step_and_a_stock_model(tmp_path: Path) -> None:
    import gymnasium

    watch = Watch()
    evaluation = EvalCallback(
        Monitor(gymnasium.make("Pendulum-v1")), n_eval_episodes=1, eval_freq=150, verbose=0,
        best_model_save_path=str(tmp_path / "best"), warn=False,
    )  # fmt: skip
    saved = CheckpointCallback(200, str(tmp_path / "saved"), "model")
    result = train(config(tmp_path / "run", total_timesteps=2000), callback=[watch, evaluation, saved])
    assert result.transitions == 450, "a callback may end the training"
    assert watch.events == ["start", "end"] and len(watch.returns) == 2
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names == {"model_200_steps.zip", "model_400_steps.zip"}
    stock = SAC.load(tmp_path / "best" / "best_model.zip", device="cpu")
    assert -2.0 <= stock.predict(np.array([1.0, 0.0, 0.5], np.float32), deterministic=True)[0][0] <= 2.0
    assert SAC.load(tmp_path / "run" / "best_model.zip", device="cpu")


def test_several_seeds_make_a_table_with_mean_and_spread(tmp_path: Path) -> None:
    from floop_robot.cli.train_report import report
    from floop_robot.train.seed_runs import train_seeds

    result = train_seeds(config(tmp_path, total_timesteps=60, seed=2**32 - 2), 2, lambda _: None)
    assert [run.out for run in result.runs] == [f"{tmp_path}/seed_{2**32 - 2}", f"{tmp_path}/seed_{2**32 - 1}"]
    returns = [run.mean_return for run in result.runs]
    assert result.mean_return_mean == pytest.approx(np.mean(returns))
    assert result.mean_return_std == pytest.approx(abs(returns[0] - returns[1]) / 2**0.5)
    lines = report(result).splitlines()
    assert len(lines) == 5 and lines[3].split()[0] == "mean" and f"{2**32 - 1}" in lines[2]
    with pytest.raises(ConfigError, match=rf"already holds a training; use --resume {tmp_path}, --overwrite or"):
        train_seeds(config(tmp_path, total_timesteps=60, seed=2**32 - 2), 2, lambda _: None)
    with pytest.raises(ConfigError, match=rf"\(series.json\); use --resume {tmp_path}, --overwrite or another --out"):
        train(config(tmp_path, total_timesteps=60))


def test_a_stopped_series_goes_on_as_a_whole(tmp_path: Path) -> None:
    from floop_robot.train.seed_runs import resume_seeds, train_seeds

    phases: set[str] = set()

    def stop_in_the_second(progress: TrainProgress) -> None:
        phases.add(progress.phase)
        if progress.phase == "learning" and "final scenarios" in phases:
            signal.raise_signal(signal.SIGINT)

    short = config(tmp_path, total_timesteps=100, final_episodes=1, selection_episodes=1, seed=3)
    with pytest.raises(KeyboardInterrupt) as stopped:
        train_seeds(short, 3, stop_in_the_second)
    assert str(stopped.value).endswith(f"go on with the whole series by floop train --resume {tmp_path}")
    first = (tmp_path / "seed_3" / "result.json").read_bytes()
    assert (tmp_path / "seed_4" / "training.state").exists() and not (tmp_path / "seed_5").exists()
    result = resume_seeds(tmp_path, lambda _: None)
    assert [run.seed for run in result.runs] == [3, 4, 5] and {run.transitions for run in result.runs} == {100}
    assert (tmp_path / "seed_3" / "result.json").read_bytes() == first, "what is done stays"
    assert msgspec.json.decode((tmp_path / "seeds.json").read_bytes())["out"] == str(tmp_path)
    longer = resume_seeds(tmp_path, lambda _: None, total_timesteps=120)
    assert {run.transitions for run in longer.runs} == {120}


def test_a_series_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    from floop_robot.train.seed_runs import train_seeds

    with pytest.raises(UnknownName, match="did you mean 'Pendulum-v1'\\?"):
        train_seeds(config(tmp_path / "out", env="Pendulm-v1"), 2, lambda _: None)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "seeds.json").touch()
    with pytest.raises(ConfigError, match="already holds a training"):
        train_seeds(config(tmp_path / "out"), 2, lambda _: None)
    with pytest.raises(UnknownName):
        train_seeds(config(tmp_path / "out", env="Pendulm-v1"), 2, lambda _: None, overwrite=True)
    assert not (tmp_path / "out" / "seeds.json").exists(), "no figures of an earlier series beside a new one"


def test_environments_side_by_side_make_the_same_curve_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert train(config(tmp_path / name, total_timesteps=630, n_envs=2)).transitions in (630, 631)
    assert same(tmp_path / "a", tmp_path / "b")


def test_seeds_of_runs_never_meet() -> None:
    from floop_envs.seeds import MAX_RUN_SEED, Purpose, seed_of

    runs = (0, 9_999, 10_000, 10_001, 2**31, MAX_RUN_SEED)
    found = [seed_of(purpose, run, index) for purpose in Purpose for run in runs for index in (0, 999_999)]
    assert len(set(found)) == len(found) and max(found) < 2**63
    assert seed_of(Purpose.GATE, 7, 3) == 50_007_000_003, "the numbers of earlier runs never change"
    with pytest.raises(ConfigError, match="use a seed from 0 to 4294967295"):
        seed_of(Purpose.TRAINING, MAX_RUN_SEED + 1, 0)
