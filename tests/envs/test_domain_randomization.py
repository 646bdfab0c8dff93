"""DomainRandomization: what can't be perceived varies, the rest stays."""

from __future__ import annotations

import numpy as np

from floop_envs.domain_randomization import DomainRandomization
from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_robot.spec.hidden_parameters import HiddenRanges
from tests.support.sample_policies import TASK


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
