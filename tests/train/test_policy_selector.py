"""Which weights are kept and when training is done."""

from pathlib import Path

import numpy as np
import pytest

from floop_envs.seeds import Purpose
from floop_robot.bundle import Normalization
from floop_robot.learn.export import actor_architecture
from floop_robot.learn.factory import build_sac
from floop_robot.learn.spaces import PolicySpace
from floop_robot.spec.default_settings import ENV_PPO, ENV_SAC, TASK_PPO, TASK_SAC
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.hyperparameters import SacSettings
from floop_robot.spec.tasks import get_task
from floop_robot.train.collector import ActorMessage
from floop_robot.train.evaluator import BATCH, Evaluator, StopRule
from floop_robot.train.policy_selector import CONFIRM_REPEATS, Confirmation, PolicySelector
from floop_robot.train.score import Score, standard_error
from floop_robot.train.train_config import TrainConfig

SHOWN = 100


class ScriptedEvaluator(Evaluator):
    """Scores as written down instead of episodes, failures spread evenly; remembers which were looked at."""

    def __init__(self, *scores: Score) -> None:
        self.scores, self.asked = list(scores), []  # type: ignore[var-annotated]

    def measure(
        self, actor: ActorMessage, purpose: Purpose, indices: tuple[int, ...], is_enough: StopRule | None = None
    ) -> Score:
        assert purpose is Purpose.SELECTION
        score, seen = self.scores.pop(0), 0
        while seen < len(indices):
            seen = min(seen + BATCH, len(indices))
            if is_enough and is_enough(seen, round((1.0 - score.success) * seen)):
                break
        self.asked.append((indices[0], seen))
        return score


@pytest.fixture(scope="module")
def actor() -> ActorMessage:
    space = PolicySpace.of(get_task("floop/Pick-v0").spec)
    architecture, tensors = actor_architecture(build_sac(space, SacSettings(net_arch=(4, 4)), 0)[0])
    normalization = Normalization(tuple(space.observation.offset.tolist()), tuple(space.observation.scale.tolist()))
    return ActorMessage(architecture, normalization, tensors)


def selector(evaluator: Evaluator, **config: object) -> PolicySelector:
    options = {"until_success": 0.9, "selection_episodes": SHOWN, "final_episodes": 200, **config}
    return PolicySelector(TrainConfig(**options), evaluator)  # type: ignore[arg-type]


def weights(value: float) -> dict[str, np.ndarray]:
    return {"actor": np.full(3, value, np.float32)}


def test_what_looks_good_enough_is_confirmed_on_new_scenarios(actor: ActorMessage) -> None:
    evaluator = ScriptedEvaluator(*(Score(success, 3.0, 1.0) for success in (0.97, 0.91, 0.98, 0.97)))
    made = selector(evaluator)
    assert not made.select(actor, weights(1), reports_success=True), "the confirmation falls short"
    assert made.select(actor, weights(2), reports_success=True)
    count = CONFIRM_REPEATS * SHOWN
    assert evaluator.asked == [(0, SHOWN), (SHOWN, 225), (0, SHOWN), (SHOWN + count, 125)], "sooner than all 300"
    assert made.best is not None and made.best[0].success == 0.97
    assert made.best[1]["actor"][0] == 2


@pytest.mark.parametrize(("confirmed", "done"), [(0.93, False), (0.94, True)])
def test_a_confirmation_shows_the_success_asked_for(actor: ActorMessage, confirmed: float, done: bool) -> None:
    """0.9 and two standard errors of 300 episodes are 0.935; a few looks ask for as much at the end."""
    evaluator = ScriptedEvaluator(Score(0.93, 3.0, 1.0), Score(confirmed, 3.0, 1.0))
    assert selector(evaluator).select(actor, weights(1), reports_success=True) is done


def test_a_confirmation_may_end_at_the_evaluators_looks_however_many_scenarios_there_are(actor: ActorMessage) -> None:
    evaluator = ScriptedEvaluator(Score(1.0, 3.0, 1.0), Score(1.0, 3.0, 1.0))
    assert selector(evaluator, selection_episodes=33).select(actor, weights(1), reports_success=True)
    assert evaluator.asked == [(0, 33), (33, 2 * BATCH)], "99 scenarios, in batches of 25"


def test_a_confirmation_ends_when_it_cannot_be_shown_any_more() -> None:
    confirmation = Confirmation(0.9, 300)
    assert not confirmation.look(25, 8)
    assert confirmation.look(50, 30)
    assert not confirmation.is_shown


def test_where_episodes_are_too_few_none_may_fail() -> None:
    confirmation = Confirmation(0.95, 9)
    assert confirmation.look(9, 0)
    assert confirmation.is_shown
    assert confirmation.look(9, 1)
    assert not confirmation.is_shown


def test_a_policy_that_cannot_be_good_enough_is_measured_on_half_of_the_scenarios(actor: ActorMessage) -> None:
    evaluator = ScriptedEvaluator(*(Score(success, 3.0, 1.0) for success in (0.8, 0.1, 0.81, 0.92)))
    made = selector(evaluator)
    for value in range(4):
        assert not made.select(actor, weights(value), reports_success=True)
    assert evaluator.asked == [(0, 50), (0, 25), (0, 50), (0, SHOWN)], "one that is clearly worse needs still fewer"
    assert made.best is not None and made.best[1]["actor"][0] == 3


def test_the_best_weights_are_kept_as_they_were(actor: ActorMessage) -> None:
    made = selector(ScriptedEvaluator(Score(0.5, 3.0, 1.0), Score(0.4, 2.0, 9.0), Score(0.5, 3.0, 2.0)))
    first = weights(1)
    made.select(actor, first, reports_success=True)
    first["actor"][:] = 99
    made.select(actor, weights(2), reports_success=True)
    assert made.best is not None and made.best[1]["actor"][0] == 1
    made.select(actor, weights(3), reports_success=True)
    assert made.best[1]["actor"][0] == 3, "the same success with more return is better"


def test_an_environment_without_success_is_selected_by_return_and_never_done(actor: ActorMessage) -> None:
    made = selector(ScriptedEvaluator(Score(0.0, None, -5.0), Score(0.0, None, -2.0)))
    assert not made.select(actor, weights(1), reports_success=False)
    assert not made.select(actor, weights(2), reports_success=False)
    assert made.best is not None and made.best[0].mean_return == -2.0


@pytest.mark.parametrize(("algo", "done"), [("sac", False), ("ppo", True)])
def test_sac_must_become_faster_than_the_cloned_policy(actor: ActorMessage, algo: str, done: bool) -> None:
    good = Score(1.0, 2.9, 1.0)
    made = selector(ScriptedEvaluator(Score(0.9, 3.0, 1.0), good, good), algo=algo)
    made.measure_cloned(actor)
    assert made.select(actor, weights(1), reports_success=True) is done


def test_a_policy_worse_than_its_demonstrations_is_not_done(actor: ActorMessage) -> None:
    slow_but_sure, fast = Score(1.0, 4.0, 1.0), Score(0.95, 2.0, 1.0)
    made = selector(ScriptedEvaluator(slow_but_sure, fast), until_success=0.8)
    made.measure_cloned(actor)
    assert not made.select(actor, weights(1), reports_success=True)


def test_of_two_with_enough_success_the_faster_is_better() -> None:
    assert Score(0.96, 2.0, 0.0).better_than(Score(1.0, 3.0, 9.0), 0.95)
    assert not Score(0.94, 2.0, 0.0).better_than(Score(1.0, 3.0, 9.0), 0.95)
    assert standard_error(0.5, 100) == pytest.approx(0.05)


def test_settings_follow_what_is_trained(tmp_path: Path) -> None:
    assert TrainConfig().settings == TASK_SAC
    assert TrainConfig(algo="ppo").settings == TASK_PPO
    assert TrainConfig(env="Pendulum-v1", algo="ppo").settings == ENV_PPO
    changed = TrainConfig(env="Pendulum-v1", sac=SacSettings(gamma=0.97, buffer_size=5_000)).settings
    assert changed == SacSettings(gamma=0.97, buffer_size=5_000).over(ENV_SAC), "one change leaves the others"
    with pytest.raises(ConfigError, match="until_success"):
        TrainConfig(until_success=0.0).check()
