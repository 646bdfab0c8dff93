"""What counts as shifted tasks: what the drivers laid out in the shifted world, whenever it is delivered."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from floop_robot.demo.live_success import LiveSuccess, ObservedShift, read_shift
from floop_robot.deploy.registry import History, LiveEpisode
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.sim.sim_driver import DriverStats
from floop_robot.spec.records import ActMode, OutcomeCode, Source

S = 1_000_000_000


def seen(robot: str, episode: int, success: bool, at_s: float) -> LiveEpisode:
    return LiveEpisode(
        robot=robot,
        boot_id="boot",
        episode=episode,
        block=1,
        source=Source.ROBOT,
        version=1,
        act_mode=ActMode.MEAN,
        outcome=OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
        object_class="box",
        duration_s=2.0,
        steps=40,
        observed_ns=round(at_s * S),
    )


def test_a_known_task_that_is_delivered_late_is_not_shifted() -> None:
    shift = ObservedShift(100 * S, {"robot_1": 20})
    assert not shift.includes(seen("robot_1", 19, False, at_s=160.0))
    assert shift.includes(seen("robot_1", 20, False, at_s=101.0))
    assert not shift.includes(seen("robot_2", 500, False, at_s=160.0)), "it has not come to shifted tasks yet"
    assert not ObservedShift().includes(seen("robot_1", 20, True, at_s=160.0))
    late = (seen("robot_1", 19, False, at_s=160.0), seen("robot_1", 20, True, at_s=161.0))
    live = LiveSuccess.of(
        History(versions=(), candidates=(), receipts=(), episodes=late, confirmed={}, audit=()), shift
    )
    assert (live.before.successes, live.before.episodes) == (0, 1)
    assert (live.shifted[1].successes, live.shifted[1].episodes) == (1, 1)


@pytest.mark.parametrize("restarted", [False, True])
def test_figures_of_all_boots_are_looked_at(tmp_path: Path, restarted: bool) -> None:
    rate = RateLoop(50.0, lambda _: None, "idle").stats()
    StatsFile[DriverStats](tmp_path, "robot_1.sim_robot").write(DriverStats(rate, 1.0, 1.0, 3, 20), force=True)
    boots = tmp_path / "stats"
    if restarted:
        (boots / "robot_1.sim_robot~1.stats").write_bytes(msgspec.msgpack.encode(DriverStats(rate, 1.0, 1.0, 9, 31)))
        (boots / "robot_1.sim_robot~2.stats").write_bytes(msgspec.msgpack.encode(DriverStats(rate, 1.0, 1.0, 1)))
    assert read_shift(tmp_path, ("robot_1", "robot_2"), 5) == ObservedShift(5, {"robot_1": 20})
