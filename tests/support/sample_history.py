"""A fleet's history around a shift of its world, as the registry returns it."""

from __future__ import annotations

from floop_robot.bundle.delivery import InstallStage, Receipt
from floop_robot.demo.live_success import ObservedShift
from floop_robot.deploy.registry import History, LiveEpisode, Origin, VersionInfo
from floop_robot.deploy.registry.records import StoredReceipt
from floop_robot.spec.records import ActMode, OutcomeCode, Source
from tests.support.blank_struct import blank

S = 1_000_000_000
SHIFT = ObservedShift(100 * S, {"robot_1": 10, "robot_2": 10})


def episode(robot: str, number: int, success: bool, at_s: float, version: int = 1) -> LiveEpisode:
    return LiveEpisode(
        robot=robot,
        boot_id="boot",
        episode=number,
        block=1,
        source=Source.ROBOT,
        version=version,
        act_mode=ActMode.MEAN,
        outcome=OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
        object_class="box",
        duration_s=2.0,
        steps=40,
        observed_ns=round(at_s * S),
    )


def version(number: int, at_s: float, origin: Origin = Origin.GATE) -> VersionInfo:
    return blank(VersionInfo, version=number, origin=origin, published_ns=round(at_s * S))


def acting(robot: str, number: int, at_s: float) -> StoredReceipt:
    receipt = blank(Receipt, robot=robot, version=number, stage=InstallStage.ACTING)
    return StoredReceipt(receipt, round(at_s * S))


def recovered_history() -> History:
    """Two robots: known tasks until second 100, then failures on v1 until v2 comes in second 120."""
    robots = ("robot_1", "robot_2")
    episodes = [episode(robot, n, True, 80 + 2 * n) for robot in robots for n in range(1, 10)]
    episodes += [episode(robot, n, False, 85 + 2 * n) for robot in robots for n in range(10, 18)]
    episodes += [episode(robot, n, n % 5 != 0, 90 + 2 * n, version=2) for robot in robots for n in range(18, 40)]
    return History(
        versions=(version(1, 1.0, Origin.BASELINE), version(2, 120.0)),
        candidates=(),
        receipts=(acting("robot_1", 2, 121.0), acting("robot_2", 2, 122.5)),
        episodes=tuple(sorted(episodes, key=lambda e: e.observed_ns)),
        confirmed={},
        audit=(),
    )
