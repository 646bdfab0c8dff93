"""Fitter: it fits the robots on which known tasks fail, and idles otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from floop_robot.fit import fit_robot
from floop_robot.fit import fitter as fitter_module
from floop_robot.fit.fitter import Fitter
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.spec.hidden_parameters import HiddenParameters
from floop_robot.spec.records import Event, Record, Source
from floop_robot.spec.simulator_fit import fit_event, fits_of
from floop_robot.stream.codec import Block, decode_block, encode_block
from tests.support.recorded_robots import recorded_blocks
from tests.support.sample_fits import calibration_fit
from tests.support.sample_policies import TASK
from tests.support.sample_records import stream_info

WORN = HiddenParameters(gripper_force_factor=0.2)


@pytest.fixture(scope="module")
def worn() -> list[Block]:
    """Failures of one robot."""
    return recorded_blocks(WORN, 8)


class Sink:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, record: Record) -> bool:
        assert isinstance(record, Event)
        self.events.append(record)
        return True


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def fitter(sink: Sink) -> Iterator[Fitter]:
    made = Fitter(TASK, "panda", sink, seed=0, clock_ns=lambda: 0)
    yield made
    made.close()


def renamed(block: Block, object_class: str, size_m: tuple[float, float, float] | None = None) -> Block:
    end = block.ends[0]
    size_m = size_m or end.object.size_m
    report = msgspec.structs.replace(end.object, object_class=object_class, size_m=size_m)
    other = msgspec.structs.replace(end, object=report)
    return msgspec.structs.replace(block, ends=(other,))


def test_nothing_is_fitted_while_nothing_fails(fitter: Fitter) -> None:
    for block in recorded_blocks(HiddenParameters(), 4):
        fitter.take(block)
    assert not fitter.step()


def test_a_failing_robot_is_fitted_and_reported(fitter: Fitter, sink: Sink, worn: list[Block]) -> None:
    for block in worn:
        fitter.take(block)
    assert fitter.failures.failing
    while not sink.events:
        assert fitter.step()
        assert fitter.counts.fitting in ("robot_1", "")
    (fit,) = fits_of(sink.events)
    assert fit.robot == "robot_1" and fit.mean("gripper_force_factor") == pytest.approx(0.2, abs=0.02)


def test_a_robot_without_a_fit_goes_before_a_better_fit_of_another(
    fitter: Fitter, sink: Sink, worn: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_robot, "POPULATIONS", ((4, 1), (4, 1)))
    for block in worn:
        fitter.take(block)
    while not sink.events:
        assert fitter.step()
        assert fitter.counts.awaited == (not sink.events), "only until its first fit"
    for block in recorded_blocks(WORN, 8, "robot_2"):
        fitter.take(block)
    while len(sink.events) < 2:
        assert fitter.step() and fitter.counts.fitting == "robot_2"
        assert fitter.counts.awaited == (len(sink.events) < 2)
    while fitter.step():
        assert not fitter.counts.awaited
    assert [fit.robot for fit in fits_of(sink.events)] == ["robot_1", "robot_2", "robot_1", "robot_2"]


def test_the_loop_waits_for_no_fit_while_a_new_class_fails_too(fitter: Fitter, worn: list[Block]) -> None:
    for block in (*worn, *(renamed(block, "basket") for block in recorded_blocks(WORN, 8, first=8))):
        fitter.take(block)
    assert fitter.step() and fitter.counts.fitting == "robot_1" and not fitter.counts.awaited


def test_a_fit_that_was_reported_is_not_reported_again(
    fitter: Fitter, sink: Sink, worn: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_robot, "POPULATIONS", ((4, 1),))
    for block in worn:
        fitter.take(block)
    while fitter.step():
        if len(sink.events) == 1:  # as the journal brings it back
            fitter.take(decode_block(encode_block(stream_info("fitter", source=Source.FITTER), 0, sink.events)))
    assert len(sink.events) == 1


def test_a_new_class_needs_no_fit(fitter: Fitter, worn: list[Block]) -> None:
    for block in worn:
        fitter.take(renamed(block, "basket"))
    assert fitter.failures.failing == ("basket",)
    assert not fitter.step()


def test_a_restarted_fitter_finds_its_fit_in_the_journal(fitter: Fitter, worn: list[Block]) -> None:
    fit = fit_event(calibration_fit("robot_1", (0.0, 0.0, 0.0)), 0)
    for block in (*worn, decode_block(encode_block(stream_info("fitter", source=Source.FITTER), 0, [fit]))):
        fitter.take(block)
    assert not fitter.step()


def test_rows_of_another_contract_are_not_fitted(fitter: Fitter, worn: list[Block]) -> None:
    for block in worn:
        fitter.take(msgspec.structs.replace(block, info=stream_info()))
    assert fitter.failures.failing and not fitter.step()


def test_a_journal_that_is_replaced_ends_the_fit_under_way(fitter: Fitter, worn: list[Block]) -> None:
    for block in worn:
        fitter.take(block)
    assert fitter.step()
    fitter.begin_with(FleetSummary())
    assert not fitter.step() and not fitter.counts.fitting


def test_one_failure_among_successes_is_not_fitted(fitter: Fitter, worn: list[Block]) -> None:
    fitter.take(worn[0])
    for block in worn[1:4]:
        fitter.take(renamed(block, "box", (0.015, 0.015, 0.015)))  # these fail, for all to see: they are small
    assert fitter.failures.failing == ("box",) and not fitter.step()


def test_a_robot_is_fitted_again_after_three_more_failures(
    fitter: Fitter, sink: Sink, worn: list[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_robot, "POPULATIONS", ((4, 1),))
    fits = []
    for block in (*worn, *recorded_blocks(WORN, 4, first=8)):
        fitter.take(block)
        while fitter.step():
            pass
        fits.append(len(sink.events))
    first, second, third = (fits.index(count) for count in (1, 2, 3))
    assert (second - first, third - second) == (fitter_module.AGAIN_FAILURES,) * 2
