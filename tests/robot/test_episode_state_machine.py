from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from floop_robot.robot.episode_state_machine import EpisodeMachine, EpisodeState, Move, Situation
from floop_robot.robot.messages import Phase

READY = Situation(
    driver_episode=7,
    driver_phase=Phase.READY,
    is_fresh=True,
    is_stopped=False,
    has_work=True,
    has_policy=True,
    is_wanted=True,
)


def but(**changes: object) -> Situation:
    return msgspec.structs.replace(READY, **changes)


def running() -> EpisodeMachine:
    machine = EpisodeMachine(7)
    assert machine.advance(READY) is Move.START
    return machine


def test_the_ordinary_course() -> None:
    machine = EpisodeMachine(7)
    assert machine.advance(but(driver_episode=0)) is Move.WAIT
    assert machine.state is EpisodeState.RESETTING
    assert machine.advance(but(driver_phase=Phase.RESETTING)) is Move.WAIT
    assert machine.advance(but(has_work=False)) is Move.WAIT
    assert machine.state is EpisodeState.WAITING
    assert machine.advance(READY) is Move.START
    assert machine.advance(READY) is Move.STEP
    machine.finish()
    assert (machine.number, machine.state) == (8, EpisodeState.RESETTING)
    assert machine.advance(READY) is Move.WAIT  # the driver still serves 7
    assert machine.advance(but(driver_episode=8)) is Move.START


def test_what_keeps_it_from_starting() -> None:
    for change in (
        {"is_fresh": False}, {"is_stopped": True}, {"has_work": False}, {"has_policy": False}, {"is_wanted": False},
        {"must_end": True}, {"driver_episode": 6},
    ):  # fmt: skip
        assert EpisodeMachine(7).advance(but(**change)) is Move.WAIT


def test_what_aborts_it_and_what_does_not() -> None:
    for change in (
        {"is_fresh": False}, {"is_stopped": True}, {"must_end": True}, {"driver_episode": 8},
        {"driver_phase": Phase.RESETTING},
    ):  # fmt: skip
        machine = running()
        assert machine.advance(but(**change)) is Move.ABORT
        assert machine.number == 8
    for change in ({"has_work": False}, {"is_wanted": False}):  # an object out of sight, a drain: it ends in order
        assert running().advance(but(**change)) is Move.STEP


def test_finishing_what_does_not_run_changes_nothing() -> None:
    machine = EpisodeMachine(7)
    machine.finish()
    assert machine.number == 7


situations = st.builds(
    Situation,
    driver_episode=st.integers(5, 9),
    driver_phase=st.sampled_from(list(Phase)),
    is_fresh=st.booleans(),
    is_stopped=st.booleans(),
    has_work=st.booleans(),
    has_policy=st.booleans(),
    is_wanted=st.booleans(),
    must_end=st.booleans(),
)


class Episodes(RuleBasedStateMachine):
    """Every episode starts once, steps only while all is well, and ends once before the next starts."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = EpisodeMachine(6)
        self.open: int | None = None
        self.ended = 5

    @rule(situation=situations, follow=st.booleans())
    def advance(self, situation: Situation, follow: bool) -> None:
        if follow:
            situation = msgspec.structs.replace(situation, driver_episode=self.machine.number, driver_phase=Phase.READY)
        before = self.machine.number
        move = self.machine.advance(situation)
        if move is Move.START:
            assert self.open is None
            assert before == self.ended + 1
            assert situation.is_wanted and situation.has_work and situation.has_policy
            self.open = before
        if move in (Move.START, Move.STEP):
            assert self.open == before == situation.driver_episode
            assert situation.is_fresh and not situation.is_stopped and not situation.must_end
        if move is Move.ABORT:
            assert self.open == before
            self.open, self.ended = None, before

    @rule()
    def finish(self) -> None:
        before = self.machine.number
        self.machine.finish()
        if self.open is not None:
            self.open, self.ended = None, before

    @invariant()
    def numbers_only_grow(self) -> None:
        assert self.machine.number == (self.open if self.open is not None else self.ended + 1)
        assert (self.machine.state is EpisodeState.RUNNING) == (self.open is not None)


TestEpisodes = Episodes.TestCase
TestEpisodes.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@given(st.lists(situations, max_size=50))
def test_a_drained_machine_never_starts(sequence: list[Situation]) -> None:
    machine = EpisodeMachine(6)
    for situation in sequence:
        assert machine.advance(msgspec.structs.replace(situation, is_wanted=False)) is Move.WAIT
