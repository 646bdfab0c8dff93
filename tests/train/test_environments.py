"""Any environment that stable-baselines3 trains is trained, its zip takes its observations, its errors are one line."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from floop_envs.seeds import Purpose
from floop_robot.bundle import Actor, Normalization
from floop_robot.learn.export import actor_architecture, save_zip
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.replay.hindsight import GoalColumns, relabel
from floop_robot.spec.errors import ConfigError, EnvironmentFailed, FloopError
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.train.collector import Collector
from floop_robot.train.environments.action_writer import ActionWriter
from floop_robot.train.environments.checked_env import DEFAULT_TIME_LIMIT, CheckedEnv, rate_hz
from floop_robot.train.environments.gym_training_env import GymTrainingEnv
from floop_robot.train.environments.loader import load_env
from floop_robot.train.environments.observation_reader import ObservationFault, ObservationReader
from floop_robot.train.environments.value_scales import UNBOUNDED, layout_of
from floop_robot.train.train_env import TrainingEnvSpec

MODULE = "tests.support.odd_envs"


class Still:
    """Does nothing."""

    def __init__(self, size: int = 2) -> None:
        self.size = size

    def mean(self, observation: np.ndarray) -> np.ndarray:
        return np.zeros(self.size, np.float32)

    def sample(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        return 3.0 * rng.standard_normal(self.size).astype(np.float32), -1.0


@pytest.mark.parametrize("algo", ["sac", "ppo"])
@pytest.mark.parametrize("name", ["Point", "Matrix", "Thousands", "Kinds", "SmallImage", "Double", "Goal"])
def test_the_zip_takes_the_environments_own_observations_and_acts_alike(name: str, algo: str, tmp_path: Path) -> None:
    from stable_baselines3 import PPO, SAC

    env = GymTrainingEnv(f"{MODULE}:{name}-v0", 0)
    description, checked = env.description, CheckedEnv(f"{MODULE}:{name}-v0")
    settings = SacSettings(net_arch=(8, 8)) if algo == "sac" else PpoSettings(net_arch=(8, 8))
    model = make_algorithm(description.space, settings, 0).model
    save_zip(model, description.space, tmp_path / "model.zip")
    kind = SAC if algo == "sac" else PPO
    stock = kind.load(tmp_path / "model.zip", env=load_env(f"{MODULE}:{name}-v0"), device="cpu")
    layout = description.task.observation
    actor = Actor(*_parts(model, Normalization(tuple(layout.offset.tolist()), tuple(layout.scale.tolist()))))
    for seed in range(3):
        observation, _ = checked.reset(seed=seed)
        observation = checked.step(checked.env.action_space.sample())[0]
        theirs = stock.predict(observation, deterministic=True)[0]
        ours, _ = checked.writer.write(actor.mean(checked.reader.flatten(observation)))
        assert theirs == pytest.approx(ours, abs=2e-4), name


def _parts(model: object, normalization: Normalization) -> tuple[object, ...]:
    architecture, tensors = actor_architecture(model)  # type: ignore[arg-type]
    return architecture, normalization, tensors


def test_a_dict_is_flattened_in_the_order_of_its_space_and_an_image_channels_first() -> None:
    reader = CheckedEnv(f"{MODULE}:Kinds-v0").reader
    seen = reader.read({"phase": 2, "flags": [0, 1], "grid": [1, 3], "pose": [0.5, -1.0], "count": [700], "more": "x"})
    assert reader.flatten(seen).tolist() == [700, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0.5, -1.0]
    image = ObservationReader(spaces.Box(0, 255, (4, 5, 3), np.uint8), "x")
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert image.flatten(image.read(pixels)).tolist() == np.moveaxis(pixels, -1, 0).reshape(-1).tolist()


def test_values_of_about_1_stay_as_they_are_and_others_become_so() -> None:
    env = GymTrainingEnv(f"{MODULE}:Thousands-v0", 0)
    layout = env.description.task.observation
    assert layout.scale[0] in (256.0, 512.0, 1024.0)
    assert (layout.offset[2], layout.scale[2]) == (7.0, 1.0), "constant by its bounds"
    rows = env.advance(Still(), 20)[0].rows
    normalized = (rows.obs - layout.offset) / layout.scale
    assert np.abs(normalized).max() < 5.0 and (normalized[:, 2] == 0.0).all()
    assert (GymTrainingEnv(f"{MODULE}:Goal-v0", 0).description.task.observation.scale == 1.0).all()


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(np.array([-0.1, 3.0]), np.array([0.7, 3.3]), dtype=np.float64),
        spaces.Box(np.array([-0.1, 1e-3]), np.array([0.7, 1e5]), dtype=np.float32),
        spaces.Box(np.array([-128, 0]), np.array([127, 7]), (2,), np.int8),
        spaces.Box(0, 255, (1, 2), np.uint8),
        spaces.Box(np.array([2.0, 5.0]), np.array([2.0, 6.0]), dtype=np.float32),
        spaces.Box(-1.0, 1.0, (2,), np.float16),
        spaces.Box(-1.7e308, 1.7e308, (2,), np.float64),
        spaces.Box(0, 2**63 - 1, (2,), np.int64),
        spaces.Box(-(2**62), 2**62 + 1, (2,), np.int64),
        spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_actions_lie_in_their_box_and_the_executed_one_is_written_down(space: spaces.Box) -> None:
    writer, rng = ActionWriter(space, "x"), np.random.default_rng(0)
    for action in [*rng.normal(0.0, 1.0, (200, 2)), [-1, -1], [1, 1], [-9, 9]]:
        native, executed = writer.write(np.array(action, np.float32))
        assert space.contains(native), native
        assert (np.abs(executed) <= 1.0).all()
        assert (native == space.high).reshape(-1)[np.array(action) >= 1.0].all()
        assert (native == space.low).reshape(-1)[np.array(action) <= -1.0].all()
        again, _ = writer.write(executed)
        assert np.allclose(np.asarray(again, float), np.asarray(native, float), rtol=1e-2)
        if space.dtype is not None and space.dtype.kind == "f":
            assert executed == pytest.approx(np.clip(action, -1, 1))


def test_the_executed_action_is_the_clipped_one() -> None:
    rows = GymTrainingEnv(f"{MODULE}:Double-v0", 0).advance(Still(), 20)[0].rows
    assert np.abs(rows.action_requested).max() > 1.0 and np.abs(rows.action).max() == 1.0


def test_steps_are_made_as_asked_for_across_episodes_and_measuring_disturbs_none() -> None:
    def made(with_measurement: bool) -> list[np.ndarray]:
        env = GymTrainingEnv(f"{MODULE}:Goal-v0", 3)
        parts = env.advance(Still(), 15)
        if with_measurement:
            env.episode(Still(), Purpose.SELECTION, 0, sample=False)
        parts += env.advance(Still(), 30)
        assert [(len(p.rows), p.is_over, int(p.rows.episode[0])) for p in parts] == [
            (15, False, 0), (5, True, 0), (20, True, 1), (5, False, 2)
        ]  # fmt: skip
        assert [p.rows.episode_end[-1] for p in parts] == [False, True, True, False]
        assert parts[1].total_reward <= parts[0].total_reward
        return [p.rows.obs for p in parts]

    for one, other in zip(made(False), made(True), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize("name", ["Goal", "OneByOne"])
def test_goals_that_were_achieved_later_take_the_place_of_the_desired(name: str) -> None:
    env = GymTrainingEnv(f"{MODULE}:{name}-v0", 0, sampled_goals=4)
    assert env.description.has_goals and env.description.reports_success
    assert env.advance(Still(), 10)[0].hindsight == (), "the rest of the episode is missing"
    (part,) = env.advance(Still(), 10)
    assert len(part.hindsight) == 4
    rows = part.hindsight[0]
    assert len(rows) == 20, "the whole episode"
    achieved, desired = rows.next_obs[:, 0:2], rows.next_obs[:, 2:4]
    for i in range(20):
        assert any((desired[i] == later).all() for later in achieved[i:])
    assert (rows.obs[:, 2:4] == desired).all()
    assert ((rows.reward == 0.0) == (np.linalg.norm(achieved - desired, axis=1) <= 0.15)).all()
    assert np.isnan(rows.log_prob).all()
    assert not GymTrainingEnv(f"{MODULE}:{name}-v0", 0, sampled_goals=0).description.has_goals


def test_later_goals_are_drawn_evenly() -> None:
    rows = GymTrainingEnv(f"{MODULE}:Goal-v0", 0).advance(Still(), 20)[0].rows
    rows.next_obs[:, 0] = np.arange(20)
    columns, rng = GoalColumns((0, 2), (2, 4)), np.random.default_rng(0)
    first = [relabel(rows, columns, lambda a, d: a[:, 0], rng).obs[0, 2] for _ in range(600)]
    counts = [first.count(value) for value in range(20)]
    assert min(counts) > 10 and max(counts) < 60


def test_an_environment_without_time_limit_gets_one_and_says_so() -> None:
    env = GymTrainingEnv(f"{MODULE}:Point-v0", 0)
    assert any(f"cut after {DEFAULT_TIME_LIMIT} steps" in note for note in env.description.notes)
    rows = env.episode(Still(), Purpose.TRAINING, 0, sample=False).rows
    assert len(rows) == DEFAULT_TIME_LIMIT and not rows.terminated.any() and rows.episode_end[-1]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("NanAtStep3", r"observation\[1\] is nan, at step 3 of training episode 0, reset seed \d+"),
        ("InfReward", "wrong reward: inf, at step 2 of training episode 0"),
        ("NoReward", "wrong reward: None, at step 1 .* return one number"),
        (
            "SuccessText",
            r"wrong info\['is_success'\]: 'False', at step 20 of training episode 0.*; return one True or False",
        ),
        ("WrongShape", r"observation has shape \(3,\), its space says \(2,\), at reset of training episode 0"),
        ("FourValues", "returned 4 values instead of 5"),
        ("OldReset", "define reset"),
        ("Raises", r"raised ConnectionError: simulator went away \(odd_envs.py, line \d+\), at step 2"),
    ],
)
def test_a_faulty_answer_is_named_with_episode_step_and_field(name: str, says: str) -> None:
    env = GymTrainingEnv(f"{MODULE}:{name}-v0", 0)
    with pytest.raises(EnvironmentFailed, match=says) as caught:
        env.advance(Still(), 20)
    assert "\n" not in str(caught.value) and f"{MODULE}:{name}-v0" in str(caught.value)


def test_goals_whose_rewards_are_not_those_of_the_steps_are_told_before_training() -> None:
    env = GymTrainingEnv(f"{MODULE}:WrongGoal-v0", 0)
    assert sum("compute_reward says" in note for note in env.description.notes) == 1


@pytest.mark.parametrize("told", [True, np.bool_(True), 1, 1.0, np.array([True]), np.array(1), [1]])
def test_one_true_or_false_tells_success(told: object) -> None:
    env = last_step(told)
    assert env.step(np.zeros(2))[4]["is_success"] is True


def last_step(told: object) -> CheckedEnv:
    """An environment whose next step is its last, and tells success so."""
    env = CheckedEnv(f"{MODULE}:Point-v0")
    env.limit = 1
    env.reset(seed=0)
    env.unwrapped.info = {"is_success": told}  # type: ignore[attr-defined]
    return env


@pytest.mark.parametrize("told", ["False", float("nan"), 0.5, 2, np.array([True, False]), [], [[1], [1, 2]]])
def test_anything_else_tells_no_success(told: object) -> None:
    env = last_step(told)
    with pytest.raises(EnvironmentFailed, match=r"wrong info\['is_success'\].*at step 1 of episode 0"):
        env.step(np.zeros(2))


def test_goals_without_hindsight_are_told_with_the_reason() -> None:
    notes = GymTrainingEnv(f"{MODULE}:WordGoal-v0", 0).description.notes
    assert any("can't learn from other goals (HER): its desired_goal is Discrete, not Box" in note for note in notes)


def test_success_is_what_the_last_step_tells_and_none_tells_nothing() -> None:
    assert "is_success" not in last_step(None).step(np.zeros(2))[4]
    env = GymTrainingEnv(f"{MODULE}:SuccessAtTheEnd-v0", 0)
    assert [(part.success, part.tells_success) for part in env.advance(Still(), 30)] == [(True, True), (False, False)]


def test_values_may_be_tensors_and_a_number_may_stand_in_an_array() -> None:
    env = GymTrainingEnv(f"{MODULE}:Tensors-v0", 0)
    assert [len(part.rows) for part in env.advance(Still(), 12)] == [5, 5, 2]
    one, none = ObservationReader(spaces.Box(-1, 1, (1,), np.float32), "x"), ObservationReader(spaces.Discrete(3), "x")
    assert one.flatten(one.read(0.5)).tolist() == [0.5]
    assert none.flatten(none.read(np.array([2]))).tolist() == [0.0, 0.0, 1.0]


def test_wrappers_of_the_registration_find_its_time_limit() -> None:
    env = GymTrainingEnv(f"{MODULE}:KnowsTime-v0", 0)
    assert env.description.task.max_steps == 20 and env.description.task.observation.size == 3


def test_an_environment_that_changes_the_folder_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "leaving_envs.py").write_text(
        "import os\nimport gymnasium\nfrom tests.support.odd_envs import Point\n"
        "def make():\n    os.chdir('/')\n    return Point()\n"
        "gymnasium.register('Leaves-v0', make, max_episode_steps=20)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    env = GymTrainingEnv("leaving_envs.py:Leaves-v0", 0)
    assert len(env.episode(Still(), Purpose.SELECTION, 0, sample=False).rows) == 20


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Grows", r"has another space each time it is made: .*\(2,\).*\(3,\)"),
        ("Connects", r"its observation_space raised ConnectionError: no simulator"),
    ],
)
def test_spaces_that_can_not_be_learned_with_are_told_before_training(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        _ = GymTrainingEnv(f"{MODULE}:{name}-v0", 0).description


def test_a_file_named_like_a_module_of_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("import gymnasium\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"Python has a module 'json' already; give .*json.py another name"):
        load_env("json.py:Reach-v0")


def test_the_end_of_a_process_closes_its_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODD_ENVS_FILE", str(tmp_path / "closed"))
    with Collector(TrainingEnvSpec("", env=f"{MODULE}:TellsWhenClosed-v0")) as collector:
        collector.describe()
    assert (tmp_path / "closed").read_text() == "closed\n" * 2


@pytest.mark.parametrize("metadata", [None, {}, {"render_fps": "auto"}, {"render_fps": -3}, {"render_fps": np.inf}])
def test_a_rate_that_is_no_number_above_0_is_unknown(metadata: object) -> None:
    env = load_env(f"{MODULE}:Point-v0")
    env.unwrapped.metadata = metadata  # type: ignore[assignment]
    assert rate_hz(env) is None
    env.unwrapped.metadata = {"render_fps": np.float32(12.5)}
    assert rate_hz(env) == 12.5
    assert any("its rate is unknown" in note for note in GymTrainingEnv(f"{MODULE}:WrongRate-v0", 0).description.notes)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float64])
def test_values_beyond_1e15_are_refused_in_any_dtype_that_holds_them(dtype: type) -> None:
    reader = ObservationReader(spaces.Box(-np.inf, np.inf, (2,), np.float64))
    large = np.array([0.0, np.inf if dtype == np.float16 else -(2.0**63)], dtype)
    with pytest.raises(ObservationFault, match=r"observation\[1\] is (inf|-9.22337e\+18)"):
        reader.read(large)
    assert reader.read(np.array([1, -2], dtype)) == pytest.approx([1, -2])


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_bounds_of_any_dtype_become_a_layout_without_warnings() -> None:
    for dtype, low, high in ((np.float16, -0.1, 0.3), (np.int64, -(2**62), 2**62), (np.float64, -1.7e308, 1.7e308)):
        box = spaces.Box(low, high, (1,), dtype)
        (field,) = layout_of("action", box.low, box.high)
        assert field.low == max(float(box.low[0]), -UNBOUNDED) and field.high == min(float(box.high[0]), UNBOUNDED)
        assert len(list(ObservationReader(box).bounds())) == 1


@pytest.mark.parametrize(
    ("env_id", "says"),
    [
        (f"{MODULE}:Unbounded-v0", "unbounded actions; wrap"),
        (f"{MODULE}:Choices-v0", "needs continuous actions"),
        (f"{MODULE}:Spaceless-v0", "has no observation_space"),
        (f"{MODULE}:Pair-v0", "observes a Tuple; floop train takes Box"),
        (f"{MODULE}:Broken-v0", r"can't be made: AttributeError: .*'simulator' \(odd_envs.py, line \d+\)"),
        (f"{MODULE}:Poin-v0", "did you mean 'Point-v0'"),
        ("not_here:Point-v0", "no module 'not_here'"),
        ("not_here.py:Point-v0", "no file not_here.py"),
        ("Nope-v0", "name its module, too: --env my_module:Nope-v0"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_cure(env_id: str, says: str) -> None:
    with pytest.raises(FloopError, match=says) as caught:
        GymTrainingEnv(env_id, 0)
    assert "\n" not in str(caught.value)


def test_modules_of_the_users_folder_are_found_and_their_errors_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    body = (
        "import gymnasium\nfrom tests.support.odd_envs import Goal\ngymnasium.register('Mine-v0', entry_point=Goal)\n"
    )
    Path("my_envs.py").write_text(body)
    Path("lacking.py").write_text("import numpy\nimport not_installed_at_all\n")
    Path("typo.py").write_text("import numpy\n\ndef broken(:\n")
    assert load_env("my_envs:Mine-v0").observation_space is not None
    assert load_env(f"{tmp_path}/my_envs.py:Mine-v0").observation_space is not None
    with pytest.raises(ConfigError, match=r"No module named 'not_installed_at_all' \(lacking.py, line 2\); install"):
        load_env("lacking:Mine-v0")
    with pytest.raises(ConfigError, match=r"SyntaxError: invalid syntax \(typo.py, line 3\)"):
        load_env("typo:Mine-v0")
