"""DomainRandomization: what can't be perceived varies, the rest stays."""

from __future__ import annotations

import msgspec
import numpy as np

from floop_envs.domain_randomization import DomainRandomization
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.hidden_parameters import HiddenRanges
from floop_robot.spec.records import Source
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.simulator_fit import fit_event
from tests.support.sample_fits import calibration_fit
from tests.support.sample_policies import TASK
from tests.support.sample_records import stream_info


def test_what_cannot_be_perceived_varies_within_the_stated_ranges() -> None:
    ranges = HiddenRanges()
    plain = scenarios_of(TrainingScenarios(TASK), Purpose.EXPLORER, 0, 200)
    varied = scenarios_of(DomainRandomization(TrainingScenarios(TASK)), Purpose.EXPLORER, 0, 200)
    forces = np.array([v.gripper_force_n / p.gripper_force_n for v, p in zip(varied, plain, strict=True)])
    masses = np.array([v.object.mass_kg / p.object.mass_kg for v, p in zip(varied, plain, strict=True)])
    for found, (low, high) in ((forces, ranges.gripper_force_factor), (masses, ranges.mass_factor)):
        assert low <= found.min() < found.max() <= high
        assert found.std() > 0.2 * (high - low)
    assert all(v.object.size_m == p.object.size_m for v, p in zip(varied, plain, strict=True))
    offsets = np.array([v.calibration_offset_m for v in varied])
    assert np.abs(offsets).max() <= ranges.calibration_x_m[1]


def test_the_scenarios_of_a_robot_are_in_its_world_as_fitted() -> None:
    fits, task = RobotFits(), TrainingScenarios(TASK)
    fits.take(stream_info("fitter", source=Source.FITTER), [fit_event(calibration_fit("robot_2", (0.04, 0.0, 0.0)), 0)])

    class OfRobot:
        def sample(self, rng: np.random.Generator) -> Scenario:
            return msgspec.structs.replace(task.sample(rng), robot=f"robot_{int(rng.integers(1, 3))}")

    drawn = scenarios_of(DomainRandomization(OfRobot(), fits.worlds), Purpose.EXPLORER, 0, 40)
    assert {s.robot for s in drawn} == {"robot_1", "robot_2"}
    for scenario in drawn:
        assert (scenario.calibration_offset_m[0] > 0.03) == (scenario.robot == "robot_2")
