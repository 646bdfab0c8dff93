from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from floop_robot.robot.episode_state_machine import EpisodeConditions, EpisodeState, EpisodeStateMachine, StepDecision
from floop_robot.robot.messages import Phase

READY = EpisodeConditions(
    driver_episode=7,
    driver_phase=Phase.READY,
    is_recent=True,
    is_stopped=False,
    has_object=True,
    has_policy=True,
    accepts_episodes=True,
)


def but(**changes: object) -> EpisodeConditions:
    return msgspec.structs.replace(READY, **changes)


def running() -> EpisodeStateMachine:
    machine = EpisodeStateMachine(7)
    assert machine.advance(READY) is StepDecision.START
    return machine


def test_the_ordinary_course() -> None:
    machine = EpisodeStateMachine(7)
    assert machine.advance(but(driver_episode=0)) is StepDecision.WAIT
    assert machine.state is EpisodeState.RESETTING
    assert machine.advance(but(driver_phase=Phase.RESETTING)) is StepDecision.WAIT
    assert machine.advance(but(has_object=False)) is StepDecision.WAIT
    assert machine.state is EpisodeState.WAITING
    assert machine.advance(READY) is StepDecision.START
    assert machine.advance(READY) is StepDecision.STEP
    machine.finish()
    assert (machine.number, machine.state) == (8, EpisodeState.RESETTING)
    assert machine.advance(READY) is StepDecision.WAIT  # the driver still serves 7
    assert machine.advance(but(driver_episode=8)) is StepDecision.START


def test_what_keeps_it_from_starting() -> None:
    for change in (
        {"is_recent": False}, {"is_stopped": True}, {"has_object": False}, {"has_tote": False}, {"has_policy": False},
        {"accepts_episodes": False}, {"must_end": True}, {"driver_episode": 6},
    ):  # fmt: skip
        assert EpisodeStateMachine(7).advance(but(**change)) is StepDecision.WAIT


def test_what_aborts_it_and_what_does_not() -> None:
    for change in (
        {"is_recent": False}, {"is_stopped": True}, {"must_end": True}, {"driver_episode": 8},
        {"driver_phase": Phase.RESETTING},
    ):  # fmt: skip
        machine = running()
        assert machine.advance(but(**change)) is StepDecision.ABORT
        assert machine.number == 8
    for change in (
        {"has_object": False},
        {"has_tote": False},
        {"accepts_episodes": False},
    ):  # an object out of sight, a drain: it ends in order
        assert running().advance(but(**change)) is StepDecision.STEP


def test_finishing_what_does_not_run_changes_nothing() -> None:
    machine = EpisodeStateMachine(7)
    machine.finish()
    assert machine.number == 7


situations = st.builds(
    EpisodeConditions,
    driver_episode=st.integers(5, 9),
    driver_phase=st.sampled_from(list(Phase)),
    is_recent=st.booleans(),
    is_stopped=st.booleans(),
    has_object=st.booleans(),
    has_tote=st.booleans(),
    has_policy=st.booleans(),
    accepts_episodes=st.booleans(),
    must_end=st.booleans(),
)


class Episodes(RuleBasedStateMachine):
    """Every episode starts once, steps only while all is well, and ends once before the next starts."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = EpisodeStateMachine(6)
        self.open: int | None = None
        self.ended = 5

    @rule(conditions=situations, follow=st.booleans())
    def advance(self, conditions: EpisodeConditions, follow: bool) -> None:
        if follow:
            conditions = msgspec.structs.replace(
                conditions, driver_episode=self.machine.number, driver_phase=Phase.READY
            )
        before = self.machine.number
        move = self.machine.advance(conditions)
        if move is StepDecision.START:
            assert self.open is None
            assert before == self.ended + 1
            assert (
                conditions.accepts_episodes and conditions.has_object and conditions.has_tote and conditions.has_policy
            )
            self.open = before
        if move in (StepDecision.START, StepDecision.STEP):
            assert self.open == before == conditions.driver_episode
            assert conditions.is_recent and not conditions.is_stopped and not conditions.must_end
        if move is StepDecision.ABORT:
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
def test_a_drained_machine_never_starts(sequence: list[EpisodeConditions]) -> None:
    machine = EpisodeStateMachine(6)
    for conditions in sequence:
        assert machine.advance(msgspec.structs.replace(conditions, accepts_episodes=False)) is StepDecision.WAIT
