"""fit_robot: what a robot recorded tells its hidden parameters; what nobody can tell stays open."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import numpy as np
import pytest

from floop_envs.env import ArmEnv
from floop_robot.fit.fit_robot import Recordings, fit_robot
from floop_robot.fit.load_estimate import TOLERANCE_M
from floop_robot.fit.recorded_episodes import RecordedEpisode, RecordedEpisodes
from floop_robot.fit.replay import Replayer, lifted_m, mismatch
from floop_robot.robot.messages import Joints
from floop_robot.spec.hidden_parameters import HiddenParameters, HiddenRanges
from floop_robot.spec.simulator_fit import SimulatorFit
from tests.support.recorded_robots import recorded_blocks
from tests.support.sample_policies import TASK


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    made = Replayer(TASK, "panda")
    yield made
    made.close()


def episodes_of(
    world: HiddenParameters, count: int, alter: Callable[[ArmEnv], None] = lambda _: None
) -> tuple[RecordedEpisode, ...]:
    recorded = RecordedEpisodes()
    for block in recorded_blocks(world, count, alter=alter):
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


def test_heavy_and_slippery_objects_are_recognized(replayer: Replayer) -> None:
    load = 11.0
    episodes = episodes_of(HiddenParameters(mass_factor=load**0.5, friction_factor=load**-0.5), 10)
    assert [episode.success for episode in episodes].count(False) >= 2, "they slip"
    fits = [fit for fit in fit_robot(replayer, "robot_1", episodes, np.random.default_rng(0)) if fit]
    loads = [sample.mass_factor / sample.friction_factor for sample in fits[-1].samples]
    assert np.median(loads) == pytest.approx(load, rel=0.6)
    # What a later fit keeps of an earlier one agrees with the loads, too.
    later = list(fit_robot(replayer, "robot_1", episodes, np.random.default_rng(1), fits[-1], 2))[-1]
    assert later is not None
    again = [sample.mass_factor / sample.friction_factor for sample in later.samples]
    assert np.median(again) == pytest.approx(load, rel=0.6)


def test_few_episodes_are_compared_with_themselves_in_the_usual_world(replayer: Replayer) -> None:
    recordings = Recordings(replayer, episodes_of(HiddenParameters(latency_s=0.2), 4), 4)
    usual = recordings.usual_mismatch
    assert [recordings.mean_mismatch(HiddenParameters(), 2) for _ in range(3)] == pytest.approx([usual] * 3, abs=0.02)
    assert recordings.mean_mismatch(HiddenParameters(latency_s=0.2)) < 0.7 * usual


def jam(env: ArmEnv) -> None:
    """Fingers that open to 40 mm only: no hidden parameter does that."""
    command = env.world.command

    def narrow(q_rad: Joints, dq_rad_s: Joints, gripper_width_m: float, gripper_force_n: float) -> None:
        command(q_rad, dq_rad_s, min(gripper_width_m, 0.04), gripper_force_n)

    env.world.command = narrow  # type: ignore[method-assign]


def test_a_fit_says_when_no_world_explains_the_failures(replayer: Replayer) -> None:
    episodes = episodes_of(HiddenParameters(), 6, jam)
    assert [episode.success for episode in episodes].count(False) >= 2
    fit = first_fit(replayer, episodes)
    assert fit.mismatch > 0.7 * fit.mismatch_nominal and not fit.explains, (fit.mismatch, fit.mismatch_nominal)


def mismatches(
    replayer: Replayer, episodes: tuple[RecordedEpisode, ...], worlds: list[HiddenParameters]
) -> list[float]:
    def apart(e: RecordedEpisode, world: HiddenParameters) -> float:
        approach = replayer.run(e, HiddenParameters()).approach
        return mismatch(replayer.recorded(e), replayer.touched(e, world, approach, 10), 0.001)

    return [float(np.mean([apart(e, world) for e in episodes])) for world in worlds]


def test_a_replay_in_the_true_world_is_nearer_than_in_others(replayer: Replayer) -> None:
    true = HiddenParameters(mass_factor=4.0, friction_factor=0.35, calibration_x_m=0.01)
    others = [HiddenParameters(calibration_x_m=0.01), msgspec.structs.replace(true, calibration_x_m=-0.02)]
    here, *elsewhere = mismatches(replayer, episodes_of(true, 4), [true, *others])
    assert here < 0.8 * min(elsewhere)


def test_a_replay_that_goes_on_from_an_approach_is_as_a_whole_one(replayer: Replayer) -> None:
    (episode,) = episodes_of(HiddenParameters(), 1)
    slow = HiddenParameters(latency_s=0.1)
    approach, whole = replayer.run(episode, HiddenParameters()).approach, replayer.run(episode, slow).trajectory
    after = replayer.touched(episode, slow, approach, 8)
    rows = slice(approach.steps, approach.steps + 9)
    assert approach.steps > 3, "it saves something"
    # In contact rounding is amplified, and it differs from one kind of processor to another.
    for name, apart in (("tcp", 1e-4), ("width", 2e-3), ("object", 2e-3)):
        assert getattr(after, name) == pytest.approx(getattr(whole, name)[rows], abs=apart), name


def test_a_replay_lifts_as_high_as_the_robot_did_and_less_under_more_load(replayer: Replayer) -> None:
    for world in (HiddenParameters(), HiddenParameters(gripper_force_factor=0.2)):
        for episode in episodes_of(world, 2):
            approach, recorded = replayer.run(episode, HiddenParameters()).approach, replayer.recorded(episode)
            assert replayer.lift_m(episode, world, approach) == pytest.approx(recorded.lift_m, abs=TOLERANCE_M)
            assert episode.success == (recorded.lift_m > 0.08)
            heavy = msgspec.structs.replace(world, mass_factor=30.0)
            assert replayer.lift_m(episode, heavy, approach) < TOLERANCE_M


def test_one_high_reading_is_no_lift() -> None:
    heights = np.array([0.02, 0.02, 0.12, 0.02, 0.02])
    assert lifted_m(heights, 0.02) == 0.0
    assert lifted_m(np.array([0.02, 0.08, 0.09, 0.02]), 0.02) == pytest.approx(0.06)
    assert lifted_m(heights[:2], 0.0) == 0.0


def test_failures_are_replayed_first_and_some_successes(replayer: Replayer) -> None:
    good, bad = episodes_of(HiddenParameters(), 1)[0], episodes_of(HiddenParameters(gripper_force_factor=0.2), 1)[0]
    assert good.success and not bad.success
    for recorded, failures in (("FSSFSSSSSS", 2), ("FFFFSSSSSSSS", 4), ("FFFFFFFF", 6), ("FFFFFFFS", 5), ("SSS", 0)):
        episodes = [good if letter == "S" else bad for letter in recorded]
        chosen = [episode.success for episode, _, _ in Recordings(replayer, episodes, len(episodes)).chosen]
        assert chosen.count(False) == failures and len(chosen) == min(6, len(recorded))
