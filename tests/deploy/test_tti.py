"""The arithmetic of the Time-To-Improvement on histories written by hand."""

from __future__ import annotations

import msgspec
import pytest

from floop_robot.bundle.delivery import InstallStage, Receipt
from floop_robot.deploy.registry import CandidateInfo, CandidateState, History, Origin, StoredReceipt, VersionInfo
from floop_robot.deploy.tti import (
    SHOWN_BOUNDS,
    STAGES,
    NoImprovement,
    TimeToImprovement,
    best_improvement,
    shown_success,
    time_to_improvement,
)
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.records import Source
from tests.support.in_process_fleet import Episodes, verdict
from tests.support.sample_bundles import IDS, make_bundle

S = 1_000_000_000
ROBOTS = ("robot_1", "robot_2")


def version(number: int, sha: str, decided_s: float, published_s: float, origin: Origin = Origin.GATE) -> VersionInfo:
    return VersionInfo(
        version=number,
        epoch=1,
        sha256=sha,
        parent=0,
        replaces=number - 1,
        restores=0,
        task="t",
        ids=IDS,
        algo="sac",
        origin=origin,
        who="m",
        journal_to=0,
        decided_ns=int(decided_s * S),
        published_ns=int(published_s * S),
        gate_s=0.5,
        bytes=1,
    )


def candidate(at_s: float, journal_to: int) -> CandidateInfo:
    judged = msgspec.structs.replace(verdict(make_bundle()), duration_s=0.5)
    return CandidateInfo(
        sha256="x",
        state=CandidateState.REJECTED,
        version=0,
        received_ns=int(at_s * S),
        journal_to=journal_to,
        verdict=judged,
    )


def acting(robot: str, number: int, at_s: float) -> StoredReceipt:
    return StoredReceipt(
        Receipt(robot=robot, version=number, stage=InstallStage.ACTING, since_received_s=0.0), int(at_s * S)
    )


def history(**changes) -> History:
    """Baseline fails from 100 s on; v2 helps little; v3 is decided at 112, published at 113, confirmed by 134."""
    make = Episodes().make
    episodes = [make(1, True, observed_ns=i * S) for i in range(1, 9)]
    episodes += [make(1, False, object_class="basket", observed_ns=(100 + i) * S) for i in range(5)]
    episodes += [make(2, i % 2 == 0, object_class="basket", observed_ns=(107 + i) * S) for i in range(5)]
    episodes += [make(3, True, object_class="basket", observed_ns=(120 + i) * S) for i in range(15)]
    whole = {
        "versions": (version(1, "a", 0, 0, Origin.BASELINE), version(2, "b", 106, 106), version(3, "c", 112, 113)),
        "candidates": (candidate(99, 5), candidate(103, 9), candidate(106, 10), candidate(112, 14)),
        "receipts": (acting("robot_1", 2, 106.5), acting("robot_1", 3, 113.5), acting("robot_2", 3, 114.5)),
        "episodes": tuple(episodes),
        "confirmed": {},
        "audit": (),
    }
    return History(**(whole | changes))


def judge(past: History, robots=ROBOTS):
    config = DeployConfig(confirm_success=0.6)
    return time_to_improvement(past, lambda e: e.object_class == "basket", robots, config)


def test_stages_end_where_they_should_and_add_up():
    result = judge(history())
    assert isinstance(result, TimeToImprovement)
    assert result.fix_version == 3
    confirmed_after = result.episodes.episodes
    assert 7 <= confirmed_after <= 14 and result.lower_bound >= result.bound == 0.6
    assert tuple(result.stages_s) == STAGES
    stages = result.stages_s
    # 103 is the first candidate that had read block 9, in which the first failure came; the gate took half a second.
    assert stages["lesson"] == pytest.approx(2.5)
    assert stages["improve"] == pytest.approx(9.0)
    assert stages["gate"] == pytest.approx(0.5)
    assert stages["publish"] == pytest.approx(1.0)
    assert stages["apply"] == pytest.approx(1.5)
    assert stages["confirm"] == pytest.approx(120 + confirmed_after - 1 - 114.5)
    assert result.tti_apply_s == pytest.approx(14.5)
    assert sum(stages.values()) == pytest.approx(result.tti_s) == pytest.approx(120 + confirmed_after - 1 - 100)


def test_not_before_the_last_robot_acts_on_it():
    late = (acting("robot_1", 3, 113.5), acting("robot_2", 3, 200.0))
    result = judge(history(receipts=late))
    assert result.tti_s == pytest.approx(100.0) == pytest.approx(result.tti_apply_s)
    assert result.stages_s["confirm"] == 0.0
    missing = judge(history(receipts=late[:1]))
    assert isinstance(missing, NoImprovement) and "robot_2" in missing.reason


def test_a_version_that_a_better_one_replaced_before_all_robots_had_it_is_not_the_fix():
    past = history()
    make = Episodes().make
    late = tuple(make(2, True, object_class="basket", observed_ns=(113 + i) * S) for i in range(15))
    result = judge(msgspec.structs.replace(past, episodes=(*past.episodes[:18], *late, *past.episodes[18:])))
    assert isinstance(result, TimeToImprovement)
    assert result.fix_version == 3


def test_nothing_to_time():
    past = history()
    assert isinstance(judge(msgspec.structs.replace(past, episodes=past.episodes[:8])), NoImprovement)
    assert isinstance(judge(msgspec.structs.replace(past, episodes=past.episodes[:20])), NoImprovement)


def test_explorers_neither_begin_nor_confirm():
    past = history()
    explored = tuple(msgspec.structs.replace(e, source=Source.EXPLORER) if e.version == 3 else e for e in past.episodes)
    assert isinstance(judge(msgspec.structs.replace(past, episodes=explored)), NoImprovement)


def test_weights_that_failed_first_cannot_be_the_fix():
    make = Episodes().make
    lucky = tuple(make(1, True, object_class="basket", observed_ns=(110 + i) * S) for i in range(30))
    past = history()
    again = msgspec.structs.replace(past, episodes=past.episodes[:13] + lucky)
    assert isinstance(judge(again), NoImprovement)


def test_the_same_weights_published_again_count_for_the_fix():
    past = history()
    versions = (*past.versions, msgspec.structs.replace(past.versions[2], version=4, published_ns=125 * S))
    receipts = (acting("robot_1", 3, 113.5), acting("robot_2", 4, 125.5))
    result = judge(history(versions=versions, receipts=receipts))
    assert result.fix_version == 3 and result.tti_apply_s == pytest.approx(25.5)


def test_less_counts_only_where_no_version_was_confirmed():
    make, past = Episodes().make, history()
    shifted = lambda e: e.object_class == "basket"  # noqa: E731
    found = best_improvement(past, shifted, ROBOTS, DeployConfig())
    assert found == judge(past) and found.bound == 0.6
    more = tuple(make(3, True, object_class="basket", observed_ns=(135 + i) * S) for i in range(40))
    found = best_improvement(
        msgspec.structs.replace(past, episodes=past.episodes + more), shifted, ROBOTS, DeployConfig()
    )
    assert found.bound == 0.8 and found.tti_s > judge(past).tti_s
    assert isinstance(
        best_improvement(history(episodes=past.episodes[:18]), shifted, ROBOTS, DeployConfig()), NoImprovement
    )


def shown(past: History) -> dict[str, float | None]:
    return shown_success(past, lambda e: e.object_class == "basket", DeployConfig().alpha)


def test_stricter_bounds_are_shown_later_and_by_the_episodes_of_one_version():
    make = Episodes().make
    past = history()
    more = tuple(make(3, True, object_class="basket", observed_ns=(135 + i) * S) for i in range(40))
    found = shown(msgspec.structs.replace(past, episodes=past.episodes + more))
    times = [found[f"{bound:g}"] for bound in SHOWN_BOUNDS]
    assert times[0] == pytest.approx(judge(past).tti_s)
    assert None not in times and times == sorted(times) and len(set(times)) == len(times)
    # Half of these episodes are on other weights: neither set shows what all of them together would.
    weights = msgspec.structs.replace(past.versions[2], version=4, sha256="d", published_ns=134 * S)
    split = tuple(msgspec.structs.replace(e, version=4) for e in more[:15])
    apart = shown(history(versions=(*past.versions, weights), episodes=past.episodes + split))
    assert apart["0.6"] == times[0] and apart["0.8"] is None


def test_nothing_is_shown_without_a_failure_or_by_weights_that_failed_first():
    past = history()
    assert set(shown(msgspec.structs.replace(past, episodes=past.episodes[:8])).values()) == {None}
    lucky = tuple(Episodes().make(1, True, object_class="basket", observed_ns=(110 + i) * S) for i in range(60))
    assert set(shown(msgspec.structs.replace(past, episodes=past.episodes[:13] + lucky)).values()) == {None}
