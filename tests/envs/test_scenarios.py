"""Scenarios: what is drawn from what, and that nothing leaks."""

import itertools
from functools import partial

import msgspec
import numpy as np
import pytest

from floop_envs.perception import Perception
from floop_envs.scenarios import PICK_AREA, ReportedScenarios, TrainingScenarios, model_of
from floop_envs.seeds import Purpose, scenario_of, scenarios_of, seed_of
from floop_envs.shifts import REALITY_GAP, SHIFTS, RealityGap, get_shift, shifted_scenarios
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.records import ObjectReport, RobotReport
from floop_robot.spec.scenario import Scenario
from floop_robot.train.validate import evaluate

PICK, PLACE = "floop/Pick-v0", "floop/PickPlace-v0"
BASKET = ObjectReport("basket", (0.1, 0.1, 0.06), (0.5, 0.1, 0.03), 0.3)


def draw(source: object, count: int = 200) -> list[Scenario]:
    return scenarios_of(source, Purpose.TRAINING, 0, count)  # type: ignore[arg-type]


def test_training_scenarios_are_within_their_ranges() -> None:
    for s in draw(TrainingScenarios(PICK)):
        assert s.object.object_class in ("box", "cylinder")
        assert all(0.036 <= side <= 0.06 for side in s.object.size_m)
        assert 0.05 <= s.object.mass_kg <= 0.3
        assert PICK_AREA.x_m[0] <= s.object_xy_m[0] <= PICK_AREA.x_m[1]
        assert s.tote_xy_m is None


def test_the_tote_never_stands_on_the_object() -> None:
    for s in draw(TrainingScenarios(PLACE)):
        assert s.tote_xy_m is not None
        assert s.tote_xy_m[1] - s.object_xy_m[1] > 0.088 + 0.0425  # half a tote, half a diagonal


def test_reported_scenarios_use_only_reports_and_catalog() -> None:
    model = model_of("basket")
    other = msgspec.structs.replace(BASKET, position_m=(0.48, -0.12, 0.03), correction_m=(0.03, -0.02, 0.0))
    reports = [RobotReport("robot_1", BASKET), RobotReport("robot_2", other)]
    drawn = draw(ReportedScenarios(PICK, reports))
    assert {s.robot for s in drawn} == {"robot_1", "robot_2"}
    for s in drawn:
        assert s.object.object_class == "basket" and s.object.shape == model.shape
        assert all(abs(side / seen - 1) <= 0.0301 for side, seen in zip(s.object.size_m, BASKET.size_m, strict=True))
        assert model.mass_kg[0] <= s.object.mass_kg <= model.mass_kg[1]
        assert 0.43 <= s.object_xy_m[0] <= 0.52 and -0.12 <= s.object_xy_m[1] <= 0.12


def test_objects_without_a_model_cannot_be_simulated() -> None:
    basket = RobotReport("robot_1", BASKET)
    unknown = RobotReport("robot_1", msgspec.structs.replace(BASKET, object_class="reserved_4"))
    with pytest.raises(UnknownName):
        ReportedScenarios(PICK, [unknown])
    assert draw(ReportedScenarios(PICK, [unknown, basket]), 5)


def test_seeds_of_different_purposes_never_meet() -> None:
    ends = [(seed_of(p, 0, 0), seed_of(p, 9_999, 999_999)) for p in Purpose]
    assert all(last < first for (_, last), (first, _) in itertools.pairwise(ends))
    assert [first for first, _ in ends] == [p * 10**10 for p in range(8)]  # for ever: runs are repeated by their seeds
    assert len({seed_of(p, seed, 0) for p in Purpose for seed in (0, 9_999, 10_000, 2**32 - 1)}) == 4 * len(Purpose)
    with pytest.raises(ConfigError):
        seed_of(Purpose.GATE, 2**32, 0)


def test_a_seed_is_a_scenario() -> None:
    source, seed = TrainingScenarios(PICK), seed_of(Purpose.GATE, 3, 7)
    assert scenario_of(source, seed) == scenario_of(source, seed) != scenario_of(source, seed + 1)


@pytest.mark.parametrize("shift", [s.name for s in SHIFTS])
def test_every_shift_changes_the_scenario(shift: str) -> None:
    shifted, old = draw(shifted_scenarios(shift, PICK), 5), draw(TrainingScenarios(PICK), 5)
    assert all(a.task == PICK and a != b for a, b in zip(shifted, old, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("shift", [s.name for s in SHIFTS])
def test_every_shift_hurts_the_shipped_policy(shift: str) -> None:
    scenarios = evaluation_scenarios(PICK, shift, ("robot_1", "robot_2"), 0, 60)
    assert evaluate(Bundle.load(baseline(PICK)), scenarios).success < 0.9


def test_unknown_shift_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'slippery'"):
        get_shift("slipery")


def test_a_robot_keeps_its_gap_and_differs_from_the_others() -> None:
    old, ranges = draw(TrainingScenarios(PICK), 1)[0], REALITY_GAP
    one, again = RealityGap("robot_1", 0).apply(old), RealityGap("robot_1", 0).apply(old)
    assert one == again != RealityGap("robot_2", 0).apply(old)
    for robot in range(50):
        real = RealityGap(f"robot_{robot}", 1).apply(old)
        assert ranges.mass_factor[0] <= real.object.mass_kg / old.object.mass_kg <= ranges.mass_factor[1]
        assert ranges.latency_s[0] <= real.latency_s <= ranges.latency_s[1]
        assert real.object.size_m == old.object.size_m and real.object_xy_m == old.object_xy_m


def test_a_gap_does_not_undo_a_shift() -> None:
    worn = draw(shifted_scenarios("worn-grip", PICK), 1)[0]
    assert RealityGap("robot_1", 0).apply(worn).gripper_force_n <= 1.1 * worn.gripper_force_n


def test_perception_is_late_displaced_and_noisy_as_the_scenario_says() -> None:
    base = draw(TrainingScenarios(PICK), 1)[0]
    perception = Perception()
    still = (0.0, 0.0, 0.0, 1.0)

    def report(**world: object) -> list[float]:
        perception.start(msgspec.structs.replace(base, **world))
        for k in range(10):
            perception.add_frame(0.02 * k, partial(tuple, ((0.01 * k, 0.0, 0.0), still)))
        seen = perception.report(0.18)
        assert seen is not None
        return list(seen.position_m)

    assert report(position_noise_m=0.0) == pytest.approx([0.09, 0.0, 0.0])
    assert report(position_noise_m=0.0, latency_s=0.1) == pytest.approx([0.04, 0.0, 0.0])
    assert report(position_noise_m=0.0, calibration_offset_m=(0.0, 0.03, -0.01)) == pytest.approx([0.09, 0.03, -0.01])
    assert report(position_noise_m=0.01) == report(position_noise_m=0.01) != report(position_noise_m=0.0)
    spread = np.std([report(position_noise_m=0.01, seed=seed)[1] for seed in range(200)])
    assert 0.008 < spread < 0.012
