"""The final evaluation: both policies on the same fresh scenarios, in worker processes."""

from __future__ import annotations

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.demo.evaluate import MIN_SCENARIOS, EvaluationResult, FinalEvaluation
from floop_robot.demo.report import Rate
from floop_robot.sim.sim_world import SimWorld
from floop_robot.spec.config import FloopConfig

CONFIG = FloopConfig(robots=2)


def evaluated(count: int, measure_s: float) -> tuple[EvaluationResult, list[tuple[int, int]]]:
    """The shipped policy against itself, and the progress that was told."""
    shipped = Bundle.load(baseline(CONFIG.task))
    seen: list[tuple[int, int]] = []
    evaluation = FinalEvaluation(CONFIG, SimWorld("new-object"), count, measure_s)
    return evaluation.run(shipped, shipped, lambda *now: seen.append(now)), seen


def test_both_policies_get_the_same_scenarios_and_progress_ends_at_their_number() -> None:
    found, seen = evaluated(5, 60.0)
    assert (found.shipped_old, found.shipped_shifted) == (found.final_old, found.final_shifted)
    assert found.shipped_old.episodes == found.shipped_shifted.episodes == 5
    assert found.shipped_old.value > found.shipped_shifted.value
    assert found.known_lost == found.known_gained == 0
    assert seen == [(done, 5) for done in range(1, 6)]


def test_a_wrong_correction_of_a_robot_that_the_world_does_not_shift_shows() -> None:
    shipped = Bundle.load(baseline(CONFIG.task))
    world, wrong = SimWorld("calibration", ("robot_2",)), (0.04, 0.0, 0.0)

    def known_with(corrected: str) -> Rate:
        final = shipped.with_calibration({corrected: wrong})
        found = FinalEvaluation(CONFIG, world, 8, 60.0).run(shipped, final, lambda *now: None)
        assert (found.known_lost, found.known_gained) == (found.shipped_old.successes - found.final_old.successes, 0)
        return found.final_old

    assert known_with("robot_2") == Rate(8, 8), "its correction is for the shifted world"
    assert known_with("robot_1").successes <= 5, "half of the known tasks are robot_1's"


def test_when_time_is_over_both_policies_have_the_least_number_of_scenarios() -> None:
    found, seen = evaluated(500, 0.0)
    counts = {
        rate.episodes for rate in (found.shipped_old, found.shipped_shifted, found.final_old, found.final_shifted)
    }
    assert counts == {MIN_SCENARIOS}
    assert seen[-1] == (MIN_SCENARIOS, 500)
