"""The final evaluation: both policies on the same fresh scenarios, in worker processes."""

from __future__ import annotations

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.demo.evaluate import SIMULATOR_SHARE, FinalEvaluation
from floop_robot.spec.config import FloopConfig

EPISODES = 5


def test_each_policy_gets_the_same_scenarios_and_progress_ends_at_the_total() -> None:
    config = FloopConfig(robots=2)
    shipped = Bundle.load(baseline(config.task))
    seen: list[tuple[int, int]] = []
    found = FinalEvaluation(config, "new-object", EPISODES).run(shipped, shipped, lambda *now: seen.append(now))
    few = round(EPISODES * SIMULATOR_SHARE)
    assert (found.shipped_old, found.shipped_shifted) == (found.final_old, found.final_shifted)
    assert found.shipped_old.episodes == found.shipped_shifted.episodes == EPISODES
    assert found.simulator_shipped_old.episodes == found.simulator_final_shifted.episodes == few
    assert found.shipped_old.value > found.shipped_shifted.value
    total = 4 * EPISODES + 2 * few
    assert [all_of for _, all_of in seen] == [total] * len(seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (total, total)
