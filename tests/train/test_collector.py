"""The helper process makes the episodes that this one would, and its errors arrive in one line."""

import os
import signal
from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest

from floop_envs.seeds import Purpose
from floop_robot.bundle import Activation, Architecture, Distribution, Normalization
from floop_robot.spec.errors import ConfigError, EnvironmentFailed, UnknownName
from floop_robot.train.collector import (
    ActorMessage,
    AdvanceRequest,
    Collector,
    CollectRequest,
    collect_episodes,
    episode_range,
)
from floop_robot.train.collector_process import CollectorFailed
from floop_robot.train.demonstrations import record_demonstrations
from floop_robot.train.evaluator import Evaluator
from floop_robot.train.score import score_of
from floop_robot.train.train_env import TrainingEnvSpec
from floop_robot.train.training_episode import TrainingEpisode
from tests.support.sample_policies import TASK, clumsy

SPEC = TrainingEnvSpec(TASK, seed=3)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector(SPEC) as made:
        yield made


def actor() -> ActorMessage:
    bundle = clumsy()
    manifest = bundle.manifest
    return ActorMessage(manifest.architecture, manifest.normalization, bundle.arrays())


def request(count: int, sample: bool = True) -> CollectRequest:
    return CollectRequest(actor(), Purpose.TRAINING, episode_range(5, count), sample)


def test_episodes_are_the_same_in_either_process(collector: Collector) -> None:
    collector.ask(request(2))
    there, here = collector.receive(), collect_episodes(SPEC.make(), request(2))
    assert [e.total_reward for e in there] == [e.total_reward for e in here]
    for a, b in zip(there, here, strict=True):
        assert (a.rows.obs == b.rows.obs).all() and (a.rows.log_prob == b.rows.log_prob).all()
        assert a.rows.episode_end.tolist() == [False] * (len(a.rows) - 1) + [True]
        assert (a.rows.next_obs[:-1] == a.rows.obs[1:]).all()


def test_mean_actions_have_no_density(collector: Collector) -> None:
    (episode,) = collector.make(request(1, sample=False))
    assert np.isnan(episode.rows.log_prob).all()


def test_an_evaluation_is_shared_between_processes_in_the_order_of_its_episodes(collector: Collector) -> None:
    indices = episode_range(0, 3)
    wanted = CollectRequest(actor(), Purpose.SELECTION, indices, sample=False)
    assert [int(e.rows.episode[0]) for e in collector.make(wanted)] == [0, 1, 2]
    score = Evaluator(collector).measure(actor(), Purpose.SELECTION, indices)
    alone = score_of(collect_episodes(SPEC.make(), wanted))
    assert score.success == alone.success
    assert score.mean_return == pytest.approx(alone.mean_return)


def test_only_successful_demonstrations_count(collector: Collector) -> None:
    counts: list[int] = []
    recorded = record_demonstrations(collector, 2, TASK, counts.append)
    assert len(recorded) == 2 and counts[0] == 0
    assert record_demonstrations(collector, 0, TASK, counts.append) == []


def test_a_helper_that_is_killed_is_reported_in_one_line() -> None:
    with Collector(SPEC) as made:
        made.ask(request(1))
        made.receive()
        os.kill(made._workers[0].pid, signal.SIGKILL)
        with pytest.raises(CollectorFailed, match=r"ended .SIGKILL"):
            made.ask(request(1))
            made.receive()


def test_an_error_in_the_helper_arrives_in_one_line() -> None:
    with Collector(TrainingEnvSpec(TASK, env="Nope-v0")) as made:
        with pytest.raises(UnknownName, match="Nope-v0") as failed:
            made.describe()
        assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    ("env", "error", "says"),
    [
        ("Nope-v0", UnknownName, "unknown Gymnasium environment"),
        ("CartPole-v1", ConfigError, "needs continuous actions"),
    ],
)
def test_an_unfit_environment_is_refused(env: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        TrainingEnvSpec(TASK, env=env).make()


class Reach(gymnasium.Env[np.ndarray, np.ndarray]):
    """Succeeds at once; acts within -2 and 6."""

    observation_space = gymnasium.spaces.Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32))
    action_space = gymnasium.spaces.Box(-2.0, 6.0, (1,), np.float32)
    seen: list[float] = []  # noqa: RUF012 - shared with the test

    def reset(self, *, seed=None, options=None):  # type: ignore[no-untyped-def]
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):  # type: ignore[no-untyped-def]
        self.seen.append(float(action[0]))
        return np.ones(2, np.float32), 1.0, True, False, {"is_success": True}


def test_a_gymnasium_environment_gets_actions_in_its_own_units_and_may_report_success() -> None:
    gymnasium.register("Reach-v0", entry_point=Reach, max_episode_steps=5)
    try:
        env = TrainingEnvSpec(TASK, env="Reach-v0").make()

        class Most:
            def mean(self, observation: np.ndarray) -> np.ndarray:
                return np.array([3.0], np.float32)

            def sample(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
                return np.array([0.0], np.float32), 0.0

        assert env.description.task.observation.scale.tolist() == [1.0, 1.0], "values of about 1 stay as they are"
        Reach.seen.clear()
        done = env.episode(Most(), Purpose.TRAINING, 0, sample=False)
        assert done.success and done.tells_success and done.total_reward == 1.0
        env.episode(Most(), Purpose.TRAINING, 1, sample=True)
        assert Reach.seen == [6.0, 2.0], "clipped, then stretched"
        with pytest.raises(ConfigError, match="no demonstrations of Reach-v0"):
            env.expert()
    finally:
        del gymnasium.registry["Reach-v0"]


ODD = "tests.support.odd_envs"


def still(size: int) -> ActorMessage:
    architecture = Architecture(
        observation_size=size, action_size=2, hidden=(), activation=Activation.RELU, distribution=Distribution.GAUSSIAN
    )
    return ActorMessage(
        architecture, Normalization((0.0,) * size, (1.0,) * size),
        {name: np.zeros(shape, np.float32) for name, shape in architecture.tensor_shapes().items()},
    )  # fmt: skip


def test_processes_share_the_training_episodes_and_a_seed_repeats_them() -> None:
    def made() -> list[TrainingEpisode]:
        with Collector(TrainingEnvSpec(TASK, env=f"{ODD}:Goal-v0", seed=5), workers=2) as collector:
            assert collector.describe().has_goals
            parts: list[TrainingEpisode] = []
            for steps in (15, 30):
                collector.ask(AdvanceRequest(still(6), steps))
                parts += collector.receive()
            return parts

    first, again = made(), made()
    numbers = [(int(p.rows.episode[0]), len(p.rows)) for p in first]
    assert numbers == [(0, 15), (1, 15), (0, 5), (1, 5), (2, 20), (3, 20), (4, 5), (5, 5)]
    for one, other in zip(first, again, strict=True):
        assert (one.rows.obs == other.rows.obs).all() and (one.rows.action == other.rows.action).all()


@pytest.mark.parametrize(("name", "printed"), [("Prints", "stepping"), ("StartsProcesses", "child")])
def test_prints_of_an_environment_are_no_results(name: str, printed: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Collector(TrainingEnvSpec(TASK, env=f"{ODD}:{name}-v0")) as collector:
        collector.describe()
    said = capfd.readouterr()
    assert said.out == "" and printed in said.err


def test_an_environment_that_ends_its_process_is_named() -> None:
    ended = pytest.raises(EnvironmentFailed, match=r"process of .*Crashes-v0 ended \(SIGKILL\)")
    with Collector(TrainingEnvSpec(TASK, env=f"{ODD}:Crashes-v0")) as collector, ended:
        collector.describe()
