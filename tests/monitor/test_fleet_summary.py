"""FleetSummary: who goes on from it knows what who counted everything knows."""

from __future__ import annotations

import random

import pytest

from floop_robot.monitor.failure_monitor import FailureMonitor
from floop_robot.monitor.fleet_summary import FleetSummary, SummaryDamaged
from floop_robot.spec.records import ActMode, EpisodeEnd, Label, OutcomeCode, Source
from floop_robot.spec.simulator_fit import fit_event
from tests.support.sample_fits import calibration_fit
from tests.support.sample_policies import episode_end
from tests.support.sample_records import stream_info


def answers(summary: FleetSummary) -> object:
    failures = summary.failures
    return (
        [(n, failures.failing_robots(n), failures.success(n), failures.has_failed(n)) for n in failures.classes],
        failures.failing,
        failures.resolved,
        failures.reports(failures.classes),
        [summary.fits.worlds(robot) for robot in ("robot_1", "robot_3")],
        (failures.episodes, summary.changes),
    )


def records(seed: int) -> list[tuple[str, EpisodeEnd | Label]]:
    """A day of three robots: classes fail, on all robots or on one, and are resolved; labels come early and late."""
    rng = random.Random(seed)
    found: list[tuple[str, EpisodeEnd | Label]] = []
    for number in range(600):
        robot, name = f"robot_{number % 3 + 1}", rng.choice(["box", "cylinder", "mug"])
        fails = {"box": 0.05, "mug": 0.5 if number < 300 else 0.0, "cylinder": 0.9 if robot == "robot_3" else 0.02}
        found.append((robot, episode_end(name, success=rng.random() > fails[name], episode=number)))
        if rng.random() < 0.1:
            labeled = number + rng.randrange(-30, 5)
            success = rng.random() < 0.5
            late = Label(seq=0, stamp_ns=1, episode_boot_id="boot", episode=labeled, success=success, author="ann")
            found.append((robot, late))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_it_goes_on_as_if_it_had_counted_everything(seed: int) -> None:
    whole, parts = FleetSummary(), FleetSummary()
    for number, (robot, record) in enumerate(records(seed)):
        info = stream_info(robot)
        ends, labels = ([record], []) if isinstance(record, EpisodeEnd) else ([], [record])
        events = [fit_event(calibration_fit("robot_3", (0.02, 0.0, 0.0)), 1)] if number == 200 else []
        for each in (whole, parts):
            each.take(info, ends, labels, [])
            each.take(stream_info("fitter", source=Source.FITTER), [], [], events)
        if number % 17 == 0:
            parts = FleetSummary.from_bytes(parts.to_bytes())
        assert answers(parts) == answers(whole)


def test_its_size_does_not_grow_with_history() -> None:
    summary, sizes = FleetSummary(), []
    end = episode_end("box", success=True, episode=1)
    assert end.outcome is OutcomeCode.SUCCESS and end.act_mode is ActMode.MEAN
    for number in range(6000):
        summary.failures.count((f"robot_{number % 10}", "boot", number), "box", number % 7 > 0, end.object)
        if number % 2000 == 1999:
            sizes.append(len(summary.to_bytes()))
    assert max(sizes) < 1.05 * min(sizes)


@pytest.mark.parametrize("data", [b"", b"\x93\x01\x02\x03", b"no summary at all"])
def test_bytes_of_another_floop_are_refused(data: bytes) -> None:
    with pytest.raises(SummaryDamaged, match="another floop"):
        FleetSummary.from_bytes(data)


def test_an_empty_one_knows_nothing() -> None:
    empty = FleetSummary.from_bytes(FleetSummary().to_bytes())
    assert empty.failures.failing == () and isinstance(empty.failures, FailureMonitor)
