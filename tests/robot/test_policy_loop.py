"""The policy loop with everything real but time: PyBullet world, safety loop, task rules."""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from floop_envs.env import make_env
from floop_envs.expert import Expert
from floop_envs.scenarios import TrainingScenarios
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.messages import PerceivedObject, Phase, SafetyMode
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import OutcomeCode
from floop_robot.spec.robot_model import RobotModel
from floop_robot.spec.scenario import Scenario
from floop_robot.spec.tasks import get_task
from tests.support.control_loop_rig import SAMPLE, TICKS_PER_STEP, Rig
from tests.support.estop_commands import reset_of, stop

TASK = "floop/Pick-v0"
RULES = get_task(TASK)
NOWHERE = PerceivedObject(object_class="box", size_m=(0.05, 0.05, 0.05), position_m=(math.nan, 0.0, 0.025), yaw_rad=0.0)


def scenarios(n: int, seed: int = 0) -> list[Scenario]:
    rng = np.random.default_rng(seed)
    source = TrainingScenarios(TASK)
    return [source.sample(rng) for _ in range(n)]


class Nan(Expert):
    def mean(self, observation: Vector) -> Vector:
        return np.full(5, np.nan, np.float32)


@pytest.fixture
def rig(panda: RobotModel) -> Iterator[Rig]:
    rig = Rig(panda, RULES, scenarios(5), Expert(RULES.spec))
    yield rig
    rig.world.close()


def run_until(rig: Rig, condition: object, limit: int = 2000) -> None:
    for _ in range(limit):
        if condition():  # type: ignore[operator]
            return
        rig.run(1)
    raise AssertionError("it did not happen")


def test_episodes_follow_one_another_and_are_recorded_whole(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.ends) == 4)
    ends, rows = rig.sink.ends, rig.sink.transitions
    assert sum(e.outcome is OutcomeCode.SUCCESS for e in ends) >= 3
    assert [e.episode for e in ends] == [1, 2, 3, 4]
    for end in ends:
        mine = [r for r in rows if r.episode == end.episode]
        assert [r.step for r in mine] == list(range(end.steps))
        assert mine[-1].terminated == (end.outcome is OutcomeCode.SUCCESS)
        assert mine[-1].truncated == (end.outcome is OutcomeCode.TIMEOUT)
        assert not any(r.terminated or r.truncated for r in mine[:-1])
        assert end.total_reward == pytest.approx(sum(r.reward for r in mine))
        assert end.duration_s == pytest.approx(end.steps * 0.08)
        assert end.object.object_class == rig.scenarios[end.episode - 1].object.object_class
        assert end.truth is not None
        assert end.truth.scenario == str(end.episode)
        progress = RULES.start()
        for row, following in zip(mine, [*(r.obs for r in mine[1:]), end.final_obs], strict=True):
            judgement = RULES.judge(progress, row.obs, following)
            progress = judgement.progress
            assert judgement.reward == row.reward
            assert math.isnan(row.log_prob)
            if not row.interventions:
                assert (row.action == row.action_requested).all()


def test_robot_and_environment_walk_the_same_path_to_the_bit(rig: Rig) -> None:
    rig.freezes_between = True
    run_until(rig, lambda: len(rig.sink.ends) == 2)
    env, expert = make_env(TASK), Expert(RULES.spec)
    for end in rig.sink.ends:
        observation, _ = env.reset(options={"scenario": rig.scenarios[end.episode - 1]})
        for row in (r for r in rig.sink.transitions if r.episode == end.episode):
            assert (observation == row.obs).all()
            observation, reward, terminated, truncated, info = env.step(expert.mean(observation))
            assert (reward, terminated, truncated) == (row.reward, row.terminated, row.truncated)
            assert info["interventions"] == row.interventions
        assert (observation == end.final_obs).all()
    env.close()


def test_a_gripper_without_effort_picks_and_this_is_said_once(rig: Rig) -> None:
    measured = rig.world.state
    rig.world.state = lambda: msgspec.structs.replace(measured(), gripper_effort_n=math.nan)  # type: ignore[method-assign]
    run_until(rig, lambda: len(rig.sink.ends) == 3)
    assert sum(e.outcome is OutcomeCode.SUCCESS for e in rig.sink.ends) >= 2
    assert [e.name for e in rig.sink.events].count("gripper_without_effort") == 1
    assert rig.policy.stats().judges_by_width
    assert all(np.isfinite(row.obs).all() for row in rig.sink.transitions)


def test_a_gripper_with_effort_is_judged_by_it(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.ends) == 1)
    assert not rig.policy.stats().judges_by_width


def test_a_policy_is_swapped_between_two_steps_and_receipted(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 3)
    rig.policy_buffer.offer(2, Expert(RULES.spec))
    run_until(rig, lambda: len(rig.sink.transitions) == 6)
    assert [r.policy_version for r in rig.sink.transitions] == [1, 1, 1, 1, 2, 2]
    first = [rig.policy_buffer.first_step_s(v) for v in (1, 2)]
    assert first[0] is not None
    assert first[1] == pytest.approx(first[0] + 4 * 0.08)  # the very step that the record of v2 begins with
    assert [e.detail for e in rig.sink.events] == ["v0 to v1", "v1 to v2"]
    run_until(rig, lambda: bool(rig.sink.ends))
    assert rig.sink.ends[0].policy_version == 2  # it made most of the steps


def test_a_policy_with_another_correction_acts_from_the_next_episode_on(panda: RobotModel) -> None:
    """A camera that is 4 cm off: without the correction the expert misses, with it it picks."""
    offset = (0.03, -0.026, 0.0)
    shifted = [msgspec.structs.replace(each, calibration_offset_m=offset) for each in scenarios(5)]
    rig = Rig(panda, RULES, shifted, Expert(RULES.spec))
    run_until(rig, lambda: len(rig.sink.transitions) == 5)
    rig.policy_buffer.offer(2, Expert(RULES.spec), offset)
    run_until(rig, lambda: len(rig.sink.ends) == 4)
    rig.world.close()
    first, *later = rig.sink.ends
    assert {row.policy_version for row in rig.sink.transitions if row.episode == first.episode} == {1}
    assert (first.outcome, first.policy_version, first.object.correction_m) == (OutcomeCode.TIMEOUT, 1, (0.0, 0.0, 0.0))
    assert all(end.policy_version == 2 and end.object.correction_m == offset for end in later)
    assert sum(end.outcome is OutcomeCode.SUCCESS for end in later) >= 2


def test_a_policy_that_answers_nan_is_taken_out(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 3)
    rig.policy_buffer.offer(2, Nan(RULES.spec))
    run_until(rig, lambda: bool(rig.sink.ends))
    assert rig.sink.ends[0].outcome is OutcomeCode.ABORTED
    assert all(np.isfinite(r.action_requested).all() for r in rig.sink.transitions)
    assert "action_not_finite" in [e.name for e in rig.sink.events]
    run_until(rig, lambda: len(rig.sink.ends) == 2)
    assert rig.sink.ends[1].policy_version == 1
    assert rig.policy_buffer.first_step_s(2) is None  # it never acted


GLITCH = msgspec.structs.replace(NOWHERE, position_m=(3e38, 0.0, 0.025))
MILLIMETRES = msgspec.structs.replace(NOWHERE, position_m=(500.0, 0.0, 25.0))


@pytest.mark.parametrize(
    "bad",
    [
        {"gripper_width_m": math.nan},
        {"q_rad": (0.0,) * 6},
        {"object": NOWHERE},
        {"object": GLITCH},
        {"object": MILLIMETRES},
        {"gripper_effort_n": -3e38},
    ],
)
def test_a_robot_state_nobody_can_act_on_costs_no_policy(rig: Rig, bad: dict[str, object]) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 3)
    sound = rig.state
    rig.state = lambda: msgspec.structs.replace(sound(), **bad)  # type: ignore[method-assign]
    rig.run(4 * TICKS_PER_STEP)
    rig.state = sound  # type: ignore[method-assign]
    assert [e.outcome for e in rig.sink.ends] == [OutcomeCode.ABORTED]
    assert [e.name for e in rig.sink.events].count("robot_state_unusable") == 1
    assert all(np.isfinite(r.obs).all() for r in rig.sink.transitions)
    assert rig.policy.stats().states_refused >= 3
    run_until(rig, lambda: len(rig.sink.ends) == 2)
    assert rig.sink.ends[1].policy_version == 1


def test_a_stop_aborts_and_the_arm_stands_until_the_reset(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 4)
    rig.estop.submit(stop("operator"))
    rig.run(40)
    assert rig.sink.ends[-1].outcome is OutcomeCode.ABORTED
    assert rig.safety.last is not None
    assert rig.safety.last.mode is SafetyMode.ESTOP
    assert not any(rig.commands[-1].dq_rad_s)
    ended = len(rig.sink.ends)
    rig.estop.submit(stop("operator"))
    rig.run(200)
    assert len(rig.sink.ends) == ended
    rig.estop.submit(reset_of(rig.estop.latch, "operator"))
    run_until(rig, lambda: len(rig.sink.ends) == ended + 1)
    assert rig.sink.ends[-1].outcome is OutcomeCode.SUCCESS


def test_without_an_object_nothing_starts(panda: RobotModel) -> None:
    rig = Rig(panda, RULES, scenarios(1), None)
    rig.run(60)
    assert rig.policy.stats().state is EpisodeState.WAITING
    assert rig.commands[-1].q_rad == pytest.approx(panda.home_rad, abs=1e-3)
    rig.policy_buffer.offer(1, Expert(RULES.spec))
    run_until(rig, lambda: bool(rig.sink.transitions))
    rig.world.close()


@pytest.mark.parametrize("what", ["driver_is_alive", "safety_is_alive"])
def test_silence_aborts_the_episode_and_the_next_starts_when_it_ends(rig: Rig, what: str) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 4)
    setattr(rig, what, False)
    rig.run(12)
    assert [e.outcome for e in rig.sink.ends] == [OutcomeCode.ABORTED]
    assert rig.sink.ends[0].steps == len(rig.sink.transitions)
    setattr(rig, what, True)
    run_until(rig, lambda: len(rig.sink.ends) == 2)
    assert rig.sink.ends[1].outcome is OutcomeCode.SUCCESS


def test_a_driver_that_gives_up_the_episode_aborts_it(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 4)
    rig.phase = Phase.RESETTING
    rig.run(2 * TICKS_PER_STEP)
    assert rig.sink.ends[-1].outcome is OutcomeCode.ABORTED
    run_until(rig, lambda: len(rig.sink.ends) == 2)


def test_a_drained_episode_runs_to_its_end_and_shutdown_ends_it_at_once(rig: Rig) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 4)
    rig.policy.accepts_episodes = False
    rig.run(400)
    assert [e.outcome for e in rig.sink.ends] == [OutcomeCode.SUCCESS]
    rig.policy.accepts_episodes = True
    run_until(rig, lambda: len(rig.sink.transitions) > rig.sink.ends[0].steps + 2)
    rig.policy.must_end = True
    rig.run(TICKS_PER_STEP)
    assert rig.sink.ends[-1].outcome is OutcomeCode.ABORTED


def test_a_sampling_robot_records_the_density(panda: RobotModel) -> None:
    class Noisy(Expert):
        def sample(self, observation: Vector, rng: np.random.Generator, spread: float = 0.1) -> tuple[Vector, float]:
            return super().sample(observation, rng, spread)[0], -1.5

    rig = Rig(panda, RULES, scenarios(1), Noisy(RULES.spec), act_mode=SAMPLE)
    run_until(rig, lambda: len(rig.sink.transitions) == 3)
    assert {(r.act_mode, r.log_prob) for r in rig.sink.transitions} == {(SAMPLE, -1.5)}
    rig.world.close()


def test_a_policy_that_dies_leaves_the_arm_standing_and_the_object_held(rig: Rig) -> None:
    run_until(rig, lambda: bool(rig.sink.transitions) and rig.world.truth().lift_m > 0.04)
    rig.policy_is_alive = False
    rig.run(30)
    assert not any(rig.commands[-1].dq_rad_s)
    assert rig.world.truth().finger_contacts == 2
    assert rig.world.truth().lift_m > 0.03


def test_safety_that_comes_back_keeps_holding_the_object(rig: Rig, panda: RobotModel) -> None:
    from floop_robot.robot.safety_loop import SafetyCore

    run_until(rig, lambda: bool(rig.sink.transitions) and rig.world.truth().lift_m > 0.04)
    rig.policy_is_alive = False
    rig.safety.core = SafetyCore(panda, 50.0, RULES.spec.policy_rate_hz, 0.1)
    rig.run(40)
    assert rig.world.truth().finger_contacts == 2
    assert rig.world.truth().lift_m > 0.03


def test_a_full_journal_stops_no_episode_and_is_counted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    run_until(rig, lambda: len(rig.sink.transitions) == 3)
    monkeypatch.setattr(rig.sink, "put", lambda record: False)
    run_until(rig, lambda: rig.policy.stats().episodes == 1)
    stats = rig.policy.stats()
    assert stats.successes == 1
    assert stats.records_dropped == stats.transitions - 3 + 1  # and the episode's end
