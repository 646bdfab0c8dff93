"""Policies judged outside a fleet, from bundles and from zips."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.gate.rejected_weights import SAME_WEIGHTS
from floop_robot.spec.config import GateConfig
from floop_robot.spec.errors import ContractMismatch, FloopError
from floop_robot.spec.verdict import Decision
from floop_robot.train.validate import ValidationPlan, evaluate, load_policy, validate
from tests.support.sample_policies import TASK, clumsy, published, skilled


def test_one_process_and_two_measure_the_same_to_the_bit() -> None:
    scenarios = scenarios_of(TrainingScenarios(TASK), Purpose.SELECTION, 1, 6)
    seen: list[tuple[int, int]] = []
    alone = evaluate(clumsy(), scenarios, on_progress=lambda done, of: seen.append((done, of)))
    together = evaluate(clumsy(), scenarios, workers=2)
    assert alone == together
    assert seen == [(i + 1, 6) for i in range(6)]
    assert alone.episodes == 6
    assert sum(c.episodes for c in alone.classes.values()) == 6
    assert alone.interval[0] <= alone.success <= alone.interval[1]


def test_a_better_policy_is_accepted_against_a_worse_one_and_not_the_other_way() -> None:
    plan = ValidationPlan(task=TASK, episodes=8, gate=GateConfig(alpha=0.1))
    found = validate(skilled(), clumsy(), plan)
    assert found.verdict is not None
    assert found.against is not None
    assert found.verdict.decision is Decision.ACCEPTED, found.verdict.reason
    assert found.candidate.success > found.against.success
    back = validate(clumsy(), skilled(), plan)
    assert back.verdict is not None
    assert back.verdict.decision is Decision.REJECTED


def test_a_policy_is_not_judged_against_itself() -> None:
    found = validate(skilled(), published(skilled(), 3), ValidationPlan(task=TASK, episodes=4))
    assert found.verdict is not None and found.against == found.candidate
    assert (found.verdict.decision, found.verdict.reason) == (Decision.INCONCLUSIVE, SAME_WEIGHTS)
    assert not found.verdict.suites


def test_without_another_policy_there_is_a_measurement_and_no_verdict() -> None:
    found = validate(skilled(), None, ValidationPlan(task=TASK, episodes=4, target_classes=("basket",)))
    assert found.verdict is None
    assert set(found.candidate.classes) == {"basket"}
    own = scenarios_of(TrainingScenarios(TASK, ("basket",)), Purpose.VALIDATION, 0, 4)
    assert found.candidate == evaluate(skilled(), own), "the scenarios of final reports stay unseen"


def test_a_stock_zip_becomes_a_bundle_that_acts_alike(tmp_path: Path) -> None:
    from floop_robot.learn.export import save_zip, to_bundle
    from floop_robot.learn.factory import build_ppo, build_sac
    from floop_robot.learn.spaces import PolicySpace
    from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
    from floop_robot.spec.ids import ids_of
    from floop_robot.spec.robot_model import load_robot
    from floop_robot.spec.tasks import get_task

    rules = get_task(TASK)
    layout = rules.spec.observation
    ids = ids_of(rules, load_robot("panda"))
    space = PolicySpace.of(rules.spec)
    rng = np.random.default_rng(0)
    seen = np.clip(layout.offset + layout.scale * rng.standard_normal((50, layout.size)), layout.low, layout.high)
    seen = seen.astype(np.float32)
    for model in (build_sac(space, SacSettings(), 1)[0], build_ppo(space, PpoSettings(), 1)):
        save_zip(model, space, tmp_path / "model.zip")
        bundle = load_policy(tmp_path / "model.zip", TASK, trust=True)
        direct = to_bundle(model, rules.spec, ids, seen)
        assert bundle.manifest.algo == direct.manifest.algo
        assert np.abs(bundle.actor().mean_batch(seen) - direct.actor().mean_batch(seen)).max() < 2e-5


class _Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_zips_need_trust_and_nothing_is_run_before(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", pickle.dumps(_Evil(marker)))
    for trust, words in ((False, "--trust"), (True, "is no stable-baselines3 zip")):
        with pytest.raises(FloopError, match=words) as caught:
            load_policy(path, TASK, trust=trust)
        assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_a_policy_for_another_task_is_one_line_naming_both(tmp_path: Path) -> None:
    skilled().save(tmp_path / "pick.floop")
    with pytest.raises(ContractMismatch) as caught:
        load_policy(tmp_path / "pick.floop", "floop/PickPlace-v0")
    assert "floop/Pick-v0" in str(caught.value)
    assert "floop/PickPlace-v0" in str(caught.value)
