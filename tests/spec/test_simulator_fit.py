"""SimulatorFit: it passes the journal unchanged, keeps what belongs together, and an unusable one is left out."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from floop_robot.spec.hidden_parameters import HiddenParameters, HiddenRanges
from floop_robot.spec.records import Event, Source
from floop_robot.spec.simulator_fit import FIT_EVENT, SimulatorFit, fit_event, fits_of
from floop_robot.stream.codec import decode_block, encode_block
from tests.support.sample_records import stream_info

FIT = SimulatorFit(
    robot="robot_2",
    samples=tuple(HiddenParameters(calibration_x_m=0.004 * i, mass_factor=1.0 + i) for i in range(5)),
    episodes=4,
    mismatch_nominal=0.4,
    mismatch=0.1,
    explains=True,
)


def test_a_fit_passes_the_journal_unchanged() -> None:
    block = decode_block(encode_block(stream_info("fitter", source=Source.FITTER), 0, [fit_event(FIT, 7)]))
    assert fits_of(block.events) == [FIT]


@pytest.mark.parametrize("detail", ["", "{}", "[" * 5000, msgspec.json.encode(FIT).decode().replace("0.016", "null")])
def test_a_detail_that_is_no_fit_is_left_out(detail: str) -> None:
    assert fits_of([Event(seq=0, stamp_ns=0, name=FIT_EVENT, detail=detail), fit_event(FIT, 1)]) == [FIT]


def test_a_fit_without_worlds_is_left_out() -> None:
    assert fits_of([fit_event(msgspec.structs.replace(FIT, samples=()), 0)]) == []


def test_parameters_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    drawn = [FIT.draw(rng) for _ in range(40)]
    assert set(drawn) == set(FIT.samples)
    assert FIT.mean("calibration_x_m") == pytest.approx(0.008)
    assert FIT.std("calibration_x_m") == pytest.approx(0.004 * np.sqrt(2))


def test_a_calibration_that_is_not_known_is_drawn_as_for_any_robot() -> None:
    worlds = tuple(HiddenParameters(calibration_y_m=y, mass_factor=2.0) for y in (-0.06, -0.02, 0.02, 0.06))
    drawn = [msgspec.structs.replace(FIT, samples=worlds).draw(np.random.default_rng(i)) for i in range(20)]
    assert max(abs(world.calibration_y_m) for world in drawn) <= HiddenRanges().calibration_y_m[1]
    assert {world.mass_factor for world in drawn} == {2.0}


@pytest.mark.parametrize("wrong", [{"mass_factor": 0.0}, {"latency_s": 1.3}, {"friction_factor": 0.0}])
def test_a_world_that_is_impossible_is_no_fit(wrong: dict[str, float]) -> None:
    impossible = msgspec.structs.replace(FIT, samples=(HiddenParameters(**wrong),))
    assert fits_of([fit_event(impossible, 0)]) == []
