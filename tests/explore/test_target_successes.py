"""Successes at failing classes, by which explorers and supervisor see whether they are scarce."""

from __future__ import annotations

from floop_robot.explore.target_successes import TargetSuccesses


def test_successes_are_scarce_until_every_failing_class_has_enough() -> None:
    found = TargetSuccesses(enough=2)
    assert not found.scarce
    found.set_failing(("basket", "sphere"))
    assert found.scarce
    for name, success in (("basket", True), ("basket", False), ("box", True), ("basket", True), ("sphere", True)):
        found.note(name, success)
    assert found.counts == {"basket": 2, "sphere": 1}
    assert found.scarce
    found.note("sphere", True)
    assert not found.scarce


def test_a_class_that_fails_again_begins_anew() -> None:
    found = TargetSuccesses(enough=1)
    found.set_failing(("basket",))
    found.note("basket", True)
    found.set_failing(())
    assert found.counts == {} and not found.scarce
    found.set_failing(("basket",))
    assert found.scarce


def test_where_none_are_needed_none_are_scarce() -> None:
    found = TargetSuccesses(enough=0)
    found.set_failing(("basket",))
    assert not found.scarce
