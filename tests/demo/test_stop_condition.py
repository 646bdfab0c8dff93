"""When an experiment is over."""

from __future__ import annotations

from floop_robot.demo.stop_condition import MAX_SETTLE_S, RESOLVED_S, SETTLE_S, SETTLE_SHARE, StopCondition


def first_end(
    seconds: float,
    *,
    improved_s: float,
    confirmed_s: float = 0.0,
    version_s: float = 0.0,
    failing: tuple[float, float] = (0.0, 0.0),
) -> float:
    """When it ends, -1 for never: a version comes at `version_s`, and tasks fail between the seconds of `failing`."""
    stop_condition = StopCondition()
    for tick in range(int(2 * seconds)):
        now_s = 1000.0 + 0.5 * tick
        since_s = now_s - 1000.0
        if stop_condition.reached(
            now_s,
            improved=since_s >= improved_s,
            confirmed=since_s >= max(improved_s, confirmed_s),
            production=2 if since_s >= version_s else 1,
            still_fails=failing[0] <= since_s < failing[1],
        ):
            return since_s
    return -1.0


def test_nothing_ends_before_an_improvement() -> None:
    assert first_end(1000.0, improved_s=1e9) == -1.0


def test_it_waits_for_the_confirmation_but_not_for_ever() -> None:
    assert first_end(200.0, improved_s=10.0, confirmed_s=40.0) == 40.0 + SETTLE_S + 0.5
    assert first_end(200.0, improved_s=10.0, confirmed_s=40.0, version_s=45.0) == 45.0 + SETTLE_S + 0.5
    assert first_end(400.0, improved_s=10.0, confirmed_s=1e9) == 10.0 + MAX_SETTLE_S + 0.5


def test_it_goes_on_for_a_while_after_the_last_version() -> None:
    assert first_end(100.0, improved_s=10.0) == 10.0 + SETTLE_S + 0.5
    assert first_end(100.0, improved_s=10.0, version_s=15.0) == 15.0 + SETTLE_S + 0.5


def test_what_took_long_settles_as_slowly() -> None:
    assert first_end(600.0, improved_s=200.0) == 200.0 + SETTLE_SHARE * 200.0 + 0.5
    assert first_end(800.0, improved_s=300.0, failing=(0.0, 1e9)) == 600.5


def test_it_goes_on_while_tasks_fail_but_not_for_ever() -> None:
    assert first_end(200.0, improved_s=10.0, failing=(0.0, 60.0)) == 60.0 + RESOLVED_S
    assert first_end(400.0, improved_s=10.0, failing=(0.0, 1e9)) == 10.0 + MAX_SETTLE_S + 0.5


def test_a_moment_without_failing_tasks_is_no_end() -> None:
    stop_condition = StopCondition()
    ends = [
        stop_condition.reached(0.5 * tick, improved=True, confirmed=True, production=1, still_fails=tick % 4 != 0)
        for tick in range(180)
    ]
    assert not any(ends)


def test_the_longest_wait_is_known_from_the_improvement_on() -> None:
    stop_condition = StopCondition()
    assert stop_condition.left_s(1000.0) is None
    for now_s, improved in ((1000.0, False), (1300.0, True)):
        stop_condition.reached(now_s, improved=improved, confirmed=False, production=1, still_fails=True)
    assert stop_condition.left_s(1310.0) == 290.0, "as long as the improvement took, once more"
