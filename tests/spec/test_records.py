"""Records, scenarios and verdicts come back from bytes as they were; numbers out of bounds are refused."""

from __future__ import annotations

import math

import msgspec
import pytest

from floop_robot.durable.framing import pack
from floop_robot.spec.bounds import MAX_COUNT, MAX_INT
from floop_robot.spec.records import ActMode, Event, Label, OutcomeCode, Source
from floop_robot.spec.scenario import ObjectSpec, Scenario, Shape
from floop_robot.spec.verdict import Decision, SuiteResult, Verdict, VerdictRefused, check_verdict

SUITE = SuiteResult(
    name="regression", episodes=20, candidate_successes=19, incumbent_successes=18, candidate_interval=(0.7, 0.99),
    candidate_cycle_s=3.2, incumbent_cycle_s=math.nan, candidate_interventions=4, limit_violations=0,
)  # fmt: skip
VERDICT = Verdict(
    decision=Decision.ACCEPTED, reason="better", candidate_sha256="ab" * 32, incumbent_version=3, suites=(SUITE,),
    seed=1000, alpha=0.05, duration_s=1.5,
)  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        Label(seq=3, stamp_ns=1, episode_boot_id="boot", episode=2, success=True, author="ada"),
        Event(seq=4, stamp_ns=1, name="swap", detail="v3 → v4"),
    ],
)
def test_records_come_back_equal(record: Label | Event) -> None:
    assert msgspec.msgpack.decode(pack(record), type=type(record)) == record


@pytest.mark.parametrize("field", ["seq", "stamp_ns", "episode"])
@pytest.mark.parametrize("value", [-1, MAX_INT + 1])
def test_numbers_of_records_are_bounded_where_they_arrive(field: str, value: int) -> None:
    label = Label(seq=3, stamp_ns=1, episode_boot_id="boot", episode=2, success=True, author="ada")
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.msgpack.decode(pack(msgspec.structs.replace(label, **{field: value})), type=Label)


def test_codes_on_disk_never_change() -> None:
    assert [*map(int, Source)] == [0, 1, 2, 3] and [*map(int, ActMode)] == [*map(int, OutcomeCode)] == [0, 1, 2]
    assert (Source.FITTER, Source.ROBOT, ActMode.MEAN, OutcomeCode.SUCCESS) == (3, 0, 0, 0)


def test_a_scenario_comes_back_from_json() -> None:
    scenario = Scenario(
        task="floop/Pick-v0", seed=7, object_xy_m=(0.5, 0.0), object_yaw_rad=0.1, latency_s=0.08,
        object=ObjectSpec(
            object_class="basket", shape=Shape.OPEN_BASKET, size_m=(0.1, 0.1, 0.05), mass_kg=0.1, lateral_friction=0.7
        ),
    )  # fmt: skip
    assert msgspec.json.decode(msgspec.json.encode(scenario), type=Scenario) == scenario


def refusal_of(verdict: Verdict) -> str:
    """Why it is refused; empty if it isn't."""
    try:
        check_verdict(verdict)
    except VerdictRefused as refused:
        return str(refused)
    return ""


def test_a_verdict_with_numbers_up_to_their_bounds_is_not_refused() -> None:
    highest = msgspec.structs.replace(
        VERDICT,
        seed=MAX_INT,
        incumbent_version=MAX_INT,
        suites=(msgspec.structs.replace(SUITE, episodes=MAX_COUNT, limit_violations=MAX_COUNT),),
    )
    assert [refusal_of(verdict) for verdict in (VERDICT, highest)] == ["", ""]


@pytest.mark.parametrize(
    ("verdict", "field"),
    [
        (msgspec.structs.replace(VERDICT, seed=-1), "seed"),
        (msgspec.structs.replace(VERDICT, incumbent_version=MAX_INT + 1), "incumbent_version"),
        (
            msgspec.structs.replace(VERDICT, suites=(msgspec.structs.replace(SUITE, episodes=MAX_COUNT + 1),)),
            "episodes",
        ),
    ],
)
def test_a_verdict_with_a_number_out_of_bounds_names_it(verdict: Verdict, field: str) -> None:
    refusal = refusal_of(verdict)
    assert field in refusal and "; judge the candidate again" in refusal
    assert "\n" not in refusal


def test_only_an_inconclusive_verdict_may_name_a_canary() -> None:
    refusals = {
        decision: refusal_of(msgspec.structs.replace(VERDICT, decision=decision, canary=True)) for decision in Decision
    }
    assert refusals.pop(Decision.INCONCLUSIVE) == ""
    assert all(decision in refusal and "\n" not in refusal for decision, refusal in refusals.items())
