"""fit_robot: what a robot recorded tells its hidden parameters; what nobody can tell stays open."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from floop_robot.fit.fit_robot import fit_robot
from floop_robot.fit.recorded_episodes import RecordedEpisode, RecordedEpisodes
from floop_robot.fit.replay import Replayer, mismatch
from floop_robot.spec.hidden_parameters import HiddenParameters, HiddenRanges
from floop_robot.spec.simulator_fit import SimulatorFit
from tests.support.recorded_robots import recorded_blocks
from tests.support.sample_policies import TASK


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(TASK, "panda")
    yield made
    made.close()


def episodes_of(world: HiddenParameters, count: int) -> tuple[RecordedEpisode, ...]:
    recorded = RecordedEpisodes()
    for block in recorded_blocks(world, count):
        recorded.take(block)
    return recorded.of("robot_1")


def first_fit(replayer: Replayer, episodes: tuple[RecordedEpisode, ...]) -> SimulatorFit:
    return next(fit for fit in fit_robot(replayer, "robot_1", episodes, np.random.default_rng(0)) if fit)


def test_a_worn_and_slow_robot_is_recognized(replayer: Replayer) -> None:
    world = HiddenParameters(
        gripper_force_factor=0.4, latency_s=0.1, calibration_y_m=0.003, calibration_z_m=-0.002, position_noise_m=0.002
    )
    fit = first_fit(replayer, episodes_of(world, 4))
    assert fit.robot == "robot_1" and fit.episodes == 4 and fit.explains
    assert fit.mismatch < 0.5 * fit.mismatch_nominal
    assert fit.mean("gripper_force_factor") == pytest.approx(0.4, abs=0.01)
    assert fit.mean("latency_s") == pytest.approx(0.1, abs=0.045)
    assert fit.mean("calibration_y_m") == pytest.approx(0.003, abs=0.004)
    assert fit.mean("calibration_z_m") == pytest.approx(-0.002, abs=0.001)
    assert fit.mean("position_noise_m") == pytest.approx(0.002, rel=0.3)
    low, high = HiddenRanges().table_friction
    assert fit.std("table_friction") > 0.2 * (high - low), "nothing tells it"


def mismatches(
    replayer: Replayer, episodes: tuple[RecordedEpisode, ...], worlds: list[HiddenParameters]
) -> list[float]:
    def apart(e: RecordedEpisode, world: HiddenParameters) -> float:
        recorded = replayer.recorded(e)
        return mismatch(recorded, replayer.run(e, world, recorded.untouched + 9).trajectory, 0.001)

    return [float(np.mean([apart(e, world) for e in episodes])) for world in worlds]


def test_a_replay_in_the_true_world_is_nearer_than_in_others(replayer: Replayer) -> None:
    true = HiddenParameters(mass_factor=4.0, friction_factor=0.35, calibration_x_m=0.01)
    others = [HiddenParameters(calibration_x_m=0.01), msgspec.structs.replace(true, calibration_x_m=-0.02)]
    here, *elsewhere = mismatches(replayer, episodes_of(true, 4), [true, *others])
    assert here < 0.8 * min(elsewhere)
