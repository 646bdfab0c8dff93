"""A hold stops updates, not rollbacks; a pin stops both. Real registry, a clock that the test turns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.cli.status import _text
from floop_robot.deploy import Hold, Pin, Push, Resume, Rollback
from floop_robot.deploy.convergence import Convergence
from floop_robot.deploy.registry import FLEET, CandidateState, Directive, Origin
from floop_robot.spec.errors import StorageError
from tests.support.in_process_fleet import FleetHarness
from tests.support.sample_bundles import make_bundle


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[FleetHarness]:
    """v1 is proven, v2 is the gate's and watched."""
    made = FleetHarness(tmp_path)
    made.fleet.register_robots(["robot_3"])
    made.live(1, [True] * 40)
    assert made.submit(1, 1).state is CandidateState.PUBLISHED
    yield made
    made.registry.close()


def targets(fleet: FleetHarness) -> list[int]:
    return [fleet.target(f"robot_{i}") for i in (1, 2, 3)]


def weights(fleet: FleetHarness, robot: str) -> str:
    return fleet.registry.version(fleet.target(robot)).sha256


def test_the_automatic_rollback_reaches_a_held_robot_and_no_pinned_one(fleet: FleetHarness) -> None:
    assert fleet.command(Hold, scope="robot_1").what == "held robot_1 on v2"
    assert fleet.command(Pin, scope="robot_2", version=2).what == "pinned robot_2 to v2"
    fleet.fleet.take_announcements()
    fleet.live(2, [False] * 30)
    assert fleet.registry.version(3).origin is Origin.ROLLBACK
    assert targets(fleet) == [3, 2, 3]
    assert fleet.fleet.take_announcements()[-1].but == ("robot_2",)
    assert fleet.registry.directive("robot_1") == Directive("robot_1", hold=3), "it is held still"
    assert "rolled back robot_1, held on v2, to v3" in [entry.what for entry in fleet.registry.audit()]
    fleet.restart()
    assert fleet.submit(2, 3).state is CandidateState.PUBLISHED
    assert targets(fleet) == [3, 2, 4], "updates reach neither"
    assert set(fleet.fleet.take_announcements()[-1].but) == {"robot_1", "robot_2"}
    shown = _text(fleet.fleet.status(), Path("elsewhere"))
    assert "held on v3 (no updates, only rollbacks)" in shown
    assert "pinned to v2 (no updates, no rollbacks)" in shown


def test_an_operators_rollback_reaches_a_held_robot_and_is_never_an_update_for_it(fleet: FleetHarness) -> None:
    fleet.command(Hold, scope="robot_1")  # on v2
    fleet.command(Push, bundle=make_bundle(5).to_bytes())  # v3
    fleet.command(Hold, scope="robot_2")  # on v3
    fleet.command(Push, bundle=make_bundle(6).to_bytes())  # v4
    assert targets(fleet) == [2, 3, 4]
    back = fleet.command(Rollback)  # v5, the bytes of v3: newer than robot_1's, equal to robot_2's
    assert targets(fleet) == [2, 3, 5]
    assert weights(fleet, "robot_2") == weights(fleet, "robot_3")
    found = Convergence(Rollback(who="anna"), back)
    found.look(fleet.fleet.robot_statuses())
    assert found.held == {"robot_1": 2, "robot_2": 3} and not found.pinned
    assert "held, so not following: robot_1 (v2), robot_2 (v3); `floop resume ROBOT` ends that" in found.text()
    fleet.command(Rollback, version=1)
    assert targets(fleet) == [6, 6, 6], "all of them had newer bytes"
    fleet.command(Rollback, version=4)  # forward, whatever it is called
    assert targets(fleet) == [6, 6, 7]


def test_a_held_robot_leaves_weights_that_are_rolled_back_whatever_their_number(fleet: FleetHarness) -> None:
    """The same weights are pushed twice; a robot is held on the first of the two numbers."""
    fleet.command(Hold, scope="robot_1")  # on v2
    fleet.command(Push, bundle=make_bundle(5).to_bytes())
    fleet.command(Push, version=2)
    fleet.command(Rollback)
    assert targets(fleet) == [5, 5, 5]
    assert weights(fleet, "robot_1") == make_bundle(5).manifest.sha256


def test_a_held_fleet_takes_no_candidate_and_every_rollback(fleet: FleetHarness) -> None:
    assert fleet.command(Hold, scope=FLEET).what == "held fleet on v2"
    assert fleet.submit(2, 2).state is CandidateState.WAITING
    fleet.live(2, [False] * 30)
    assert fleet.registry.versions()[-1].origin is Origin.ROLLBACK
    assert targets(fleet) == [3, 3, 3]
    fleet.command(Push, bundle=make_bundle(5).to_bytes())
    fleet.command(Rollback)
    assert targets(fleet) == [5, 5, 5]
    assert fleet.fleet.status().fleet.hold
    assert "the whole fleet:  held (no updates, only rollbacks)" in _text(fleet.fleet.status(), Path("elsewhere"))


def test_a_scope_is_held_or_pinned_and_never_both(fleet: FleetHarness) -> None:
    for scope in ("robot_1", FLEET):
        fleet.command(Pin, scope=scope, version=2)
        held = fleet.command(Hold, scope=scope).what
        assert held == f"held {scope} on v2; it is no longer pinned to v2"
        assert (fleet.registry.directive(scope).hold, fleet.registry.directive(scope).pin) == (2, 0)
        fleet.command(Pin, scope=scope, version=2)
        assert (fleet.registry.directive(scope).hold, fleet.registry.directive(scope).pin) == (0, 2)
        fleet.command(Resume, scope=scope)
        assert fleet.registry.directive(scope) == Directive(scope)


def test_what_is_left_after_the_fleet_was_resumed_is_named_by_its_state(fleet: FleetHarness) -> None:
    fleet.command(Hold, scope="robot_1")
    fleet.command(Pin, scope="robot_2", version=2)
    assert fleet.command(Resume, scope=FLEET).what == "resumed fleet; robot_1 held still; robot_2 pinned still"


def test_a_rollback_and_what_it_does_to_held_robots_are_stored_together(
    fleet: FleetHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.command(Hold, scope="robot_1")

    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(fleet.registry, "set_directive", full)
        assert "full" in fleet.command(Rollback).reason
    assert targets(fleet) == [2, 2, 2] and len(fleet.registry.versions()) == 2
    fleet.command(Rollback)
    assert targets(fleet) == [3, 3, 3]
