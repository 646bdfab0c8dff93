"""`set_estop` of a robot whose servo loop and disk are held up at the worst moments: no reset opens a later stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import srv
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.messages import EstopCommand
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.reset_ids import ResetIds
from floop_robot.robot.safety_loop import SafetyCore
from floop_robot.ros.node import async_condition, topics
from floop_robot.ros.node.io import MAX_QUEUED_MESSAGES
from floop_robot.ros.safety import estop_service, safety_publisher
from floop_robot.ros.safety.estop_commands import EstopCommands
from floop_robot.ros.safety.estop_service import (
    ENDING,
    FULL,
    GIVEN_BEFORE,
    HUNG,
    ID_NOT_STORED,
    OUTDATED,
    STOPPED_AGAIN,
    TOKENS_UNREADABLE,
    EstopService,
)
from floop_robot.ros.safety.safety_publisher import NONCE_LIFETIME_S, SafetyPublisher
from floop_robot.spec.robot_model import load_robot
from tests.support.operator_tokens import TOKEN, operators_file
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT


class Box(EstopCommands):
    """Remembers what it was sent."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(peer.node)
        self.sent: list[EstopCommand] = []

    def send(self, order: EstopCommand, /) -> None:
        super().send(order)
        self.sent.append(order)


class HeldUp:
    """Safety in this process, whose servo loop ticks when a test says so."""

    def __init__(
        self,
        peer: Peer,
        ids: ResetIds | None = None,
        latch: EstopLatch | None = None,
        tokens: OperatorTokens | None = None,
    ) -> None:
        self.latch, self._peer = latch or EstopLatch(), peer
        tokens = tokens or OperatorTokens(None)
        self.core = SafetyCore(load_robot("panda"), 250.0, 12.5, 0.1, self.latch)
        self.orders = Box(peer)
        self.reports = SafetyPublisher(peer.node, ROBOT, self.latch, lambda: 0)
        self.service = EstopService(peer.node, ROBOT, self.orders, self.reports, tokens, ids)

    def tick(self) -> float:
        """One tick; when it was."""
        while (order := self.orders.receive()) is not None:
            self.core.apply_command(order)
        now_s = time.monotonic()
        self.latch.save()
        self.reports.send(self.core.tick(now_s)[1])
        return now_s

    def stop(self, who: str) -> float:
        """By whatever way, and obeyed; when it was."""
        self.orders.send(EstopCommand(stop=True, who=who))
        return self.tick()

    @property
    def seal(self) -> int:
        """The newest."""
        return int(self.reports.message().seal)

    def ask(self, *, stop: bool = False, **fields: Any) -> Any:
        """The future answer of `set_estop`."""
        return self._peer.send(srv.SetEstop, topics.SET_ESTOP, srv.SetEstop.Request(stop=stop, who="ann", **fields))

    def wait_asked(self, **fields: Any) -> Any:
        """The same, once its order lies ready for the servo loop."""
        before, asked = len(self.orders.sent), self.ask(**fields)
        wait_for(lambda: len(self.orders.sent) > before)
        return asked

    def answer(self, asked: Any) -> Any:
        """What was answered, while the servo loop ticks."""
        wait_for(lambda: self.tick() > 0.0 and asked.done())
        return asked.result()


@pytest.fixture
def peer(domain: int) -> Iterator[Peer]:
    with closing(Peer(domain)) as found:
        yield found


@pytest.fixture
def safety(peer: Peer) -> HeldUp:
    """Stopped by ann."""
    found = HeldUp(peer)
    found.stop("ann")
    return found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for as long as a test needs, on a slow machine as well."""
    monkeypatch.setattr(estop_service, "OBEY_TIMEOUT_S", 20.0)
    for module in (estop_service, safety_publisher):
        monkeypatch.setattr(module, "NONCE_LIFETIME_S", 40.0)


def refused(why: str) -> str:
    return f"{ROBOT} stays stopped: {why}"


def test_a_reset_is_void_with_its_nonce_although_its_call_still_waits(peer: Peer, safety: HeldUp) -> None:
    said_s = safety.stop("bob")
    wait_for(lambda: time.monotonic() > said_s + NONCE_LIFETIME_S - 0.5)
    released = safety.ask(seal=safety.seal)
    wait_for(lambda: time.monotonic() > said_s + NONCE_LIFETIME_S)
    safety.tick()
    assert safety.latch.is_set
    assert not peer.result(released).success


def test_a_reset_that_failed_is_not_carried_out_when_it_is_repeated(peer: Peer, safety: HeldUp) -> None:
    first, again = safety.ask(call_id="a"), safety.ask(call_id="a")
    assert not peer.result(first).success  # the servo loop was held up for as long as it was waited for
    assert safety.answer(again).message == first.result().message
    assert safety.latch.is_set


def test_a_reset_that_failed_is_not_reported_as_one_that_was_undone(peer: Peer, safety: HeldUp) -> None:
    failed = peer.result(safety.ask(call_id="a"))
    assert not failed.success
    safety.stop("bob")
    assert safety.answer(safety.ask(call_id="a")).message == failed.message
    assert safety.latch.is_set


def test_a_reset_that_was_out_of_date_is_not_carried_out_when_it_is_repeated_with_a_newer_nonce(
    safety: HeldUp,
) -> None:
    found = safety.answer(safety.ask(call_id="a", seal=12345))
    assert found.message == refused(OUTDATED)
    assert safety.answer(safety.ask(call_id="a", seal=safety.seal)).message == found.message
    assert safety.latch.is_set
    assert safety.answer(safety.ask(call_id="b", seal=safety.seal)).success
    assert not safety.latch.is_set


@pytest.mark.usefixtures("patient")
def test_a_reset_means_the_latch_as_it_is_when_it_arrives_whoever_waits_before_it(safety: HeldUp) -> None:
    before = safety.latch.stops
    waiting, released = safety.wait_asked(stop=True), safety.wait_asked()  # the servo loop is held up: none is answered
    safety.orders.send(EstopCommand(stop=True, who="bob", why="a hand in the cell"))
    assert safety.answer(waiting).success
    assert not safety.answer(released).success
    assert safety.latch.is_set
    assert safety.latch.stops == before + 2


@pytest.mark.usefixtures("patient")
def test_a_reset_repeated_before_it_is_answered_resets_once(safety: HeldUp) -> None:
    safety.reports.listener = lambda: None  # the first call hears of its release at its next look, 0.1 s later
    first = safety.wait_asked(call_id="a")
    safety.tick()
    assert not safety.latch.is_set
    safety.stop("bob")
    again = [safety.ask(call_id="a") for _ in range(3)]
    assert safety.answer(first).message == f"{ROBOT} {STOPPED_AGAIN}"
    assert {safety.answer(each).message for each in again} == {first.result().message}
    assert safety.latch.is_set


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("sealed", [(True, True), (True, False), (False, True), (False, False)])
def test_a_reset_repeated_to_a_successor_opens_no_later_stop(
    domain: int, tmp_path: Path, sealed: tuple[bool, bool]
) -> None:
    ids, latch = tmp_path / "releases", tmp_path / "stopped"
    with closing(Peer(domain)) as peer:
        safety = HeldUp(peer, ResetIds(ids), EstopLatch(latch))
        safety.stop("ann")
        assert safety.answer(safety.ask(call_id="a", seal=safety.seal if sealed[0] else 0)).success
        assert not safety.latch.is_set
        safety.stop("bob")
    with closing(Peer(domain)) as peer:
        successor = HeldUp(peer, ResetIds(ids), EstopLatch(latch))
        successor.tick()
        again = successor.answer(successor.ask(call_id="a", seal=successor.seal if sealed[1] else 0))
        assert (again.success, again.message) == (False, refused(GIVEN_BEFORE))
        assert successor.latch.is_set
        assert successor.answer(successor.ask(call_id="b")).success


@pytest.mark.usefixtures("patient")
def test_no_number_of_resets_pushes_a_stop_out(safety: HeldUp) -> None:
    after = safety.latch.stops
    stopped = safety.wait_asked(stop=True)
    for _ in range(2 * MAX_QUEUED_MESSAGES):
        safety.orders.send(EstopCommand(stop=False, who="ann", after_stops=after))
    assert safety.answer(stopped).success
    assert safety.latch.is_set


@pytest.mark.usefixtures("patient")
def test_a_stop_in_the_same_tick_as_a_reset_is_named_as_the_one_that_holds(safety: HeldUp) -> None:
    released = safety.wait_asked()
    safety.stop("bob")
    state = safety.reports.message()
    assert (state.latched, state.who) == (True, "bob")
    assert safety.answer(released).message == f"{ROBOT} {STOPPED_AGAIN}"


@pytest.mark.usefixtures("patient")
def test_resets_too_many_are_refused_at_once_and_stops_never(
    peer: Peer, safety: HeldUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estop_service, "MAX_OPEN_CALLS", 2)
    waiting = [safety.wait_asked(), safety.wait_asked(call_id="a")]
    for call in ({}, {"call_id": "b"}, {"seal": safety.seal}):
        assert peer.result(safety.ask(**call)).message == refused(FULL)
    safety.wait_asked(stop=True)
    safety.tick()
    assert [peer.result(each).message for each in waiting] == [f"{ROBOT} {STOPPED_AGAIN}"] * 2
    assert safety.answer(safety.ask(call_id="b")).message == refused(FULL)  # repeated: somebody has stopped since
    assert safety.latch.is_set
    assert safety.answer(safety.ask(call_id="c")).success


class HungIds(ResetIds):
    """On a disk that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def add(self, call_id: str) -> None:
        self.asked.set()
        self.go_on.wait(20.0)
        super().add(call_id)


@pytest.fixture
def hung() -> Iterator[HungIds]:
    found = HungIds()
    yield found
    found.go_on.set()


def test_threads_that_hang_count_among_those_that_wait(
    peer: Peer, hung: HungIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estop_service, "MAX_OPEN_CALLS", 1)
    safety = HeldUp(peer, hung)
    safety.stop("ann")
    assert safety.answer(safety.ask(call_id="a")).message == refused(ID_NOT_STORED.format(HUNG))
    assert safety.answer(safety.ask()).success  # one that waits is not too many
    safety.stop("bob")
    monkeypatch.setattr(estop_service, "MAX_OPEN_CALLS", 0)
    assert safety.answer(safety.ask(call_id="b")).message == refused(FULL)


class HungTokens(OperatorTokens):
    """In a file that does not answer."""

    def __init__(self) -> None:
        super().__init__(None)
        self.asked, self.go_on = 0, threading.Event()

    @property
    def needs_token(self) -> bool:
        return True

    def refusal(self, who: str, token: str) -> str:
        self.asked += 1
        self.go_on.wait(20.0)
        return ""


def test_a_reset_that_could_not_be_judged_is_not_judged_when_it_is_repeated(peer: Peer) -> None:
    tokens = HungTokens()
    safety = HeldUp(peer, tokens=tokens)
    safety.stop("ann")
    message = refused(TOKENS_UNREADABLE)
    copies = [safety.ask(call_id="a") for _ in range(5)]
    assert {safety.answer(each).message for each in copies} == {message}
    assert tokens.asked == 1
    tokens.go_on.set()
    safety.stop("bob")
    assert safety.answer(safety.ask(call_id="a")).message == message
    assert safety.latch.is_set
    assert safety.answer(safety.ask(call_id="b")).success


def test_an_id_answers_only_who_gave_it(peer: Peer, tmp_path: Path) -> None:
    safety = HeldUp(peer, tokens=OperatorTokens(Path(operators_file(tmp_path))))
    safety.stop("ann")
    guessed = safety.answer(safety.ask(call_id="a", token="guess"))
    assert not guessed.success
    assert safety.answer(safety.ask(call_id="a", token=TOKEN)).success
    assert safety.answer(safety.ask(call_id="a", token="guess")).message == guessed.message


def test_a_refused_reset_of_a_robot_that_is_not_stopped_says_so(safety: HeldUp) -> None:
    assert safety.answer(safety.ask()).success
    message = safety.answer(safety.ask(seal=12345)).message
    assert message == f"{ROBOT} is not stopped, but was not reset by this call: {OUTDATED}"


def test_a_disk_that_hangs_keeps_no_reset_waiting_and_none_without_an_id_from_resetting(
    peer: Peer, hung: HungIds
) -> None:
    safety = HeldUp(peer, hung)
    safety.stop("ann")
    message = refused(ID_NOT_STORED.format(HUNG))
    asked = [safety.ask(call_id=call_id, seal=safety.seal) for call_id in "ab"]
    assert [safety.answer(each).message for each in asked] == [message] * 2
    assert safety.latch.is_set
    assert safety.answer(safety.ask()).success
    safety.stop("bob")
    hung.go_on.set()
    assert safety.answer(safety.ask(call_id="a")).message == message
    assert safety.latch.is_set
    assert safety.answer(safety.ask(call_id="c")).success


@pytest.mark.usefixtures("patient")
def test_a_reset_whose_id_is_still_being_written_when_safety_ends_is_none(
    peer: Peer, hung: HungIds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_condition, "END_S", 0.1)
    safety = HeldUp(peer, hung)
    safety.stop("ann")
    released = safety.ask(call_id="a")
    wait_for(hung.asked.is_set)
    safety.service.close()
    assert safety.answer(released).message == refused(ENDING)
    hung.go_on.set()
    assert safety.answer(safety.ask(call_id="b")).message == refused(ENDING)
    assert safety.latch.is_set and not any(not order.stop for order in safety.orders.sent)


@pytest.mark.usefixtures("patient")
def test_ids_that_are_damaged_are_reported_and_the_next_start_is_well(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "releases"
    ResetIds(path).add("before")
    path.write_bytes(b"\xff\xfe\x00 " + path.read_bytes())
    safety = HeldUp(peer, ResetIds(path))
    safety.stop("ann")
    for call_id in "aab":
        message = safety.answer(safety.ask(call_id=call_id)).message
        assert message == refused(ID_NOT_STORED.format(f"{path} was damaged when safety started"))
    assert safety.answer(safety.ask()).success
    again = ResetIds(path)
    assert all(call_id in again for call_id in ("before", "a", "b")) and "c" not in again
    again.add("c")


@pytest.mark.usefixtures("patient")
def test_ids_that_could_not_be_read_at_the_start_are_read_later(peer: Peer, tmp_path: Path) -> None:
    path, away = tmp_path / "releases", tmp_path / "away"
    ResetIds(path).add("before")
    path.rename(away)
    path.mkdir()
    safety = HeldUp(peer, ResetIds(path))
    safety.stop("ann")
    assert str(path) in safety.answer(safety.ask(call_id="a")).message
    path.rmdir()
    away.rename(path)
    assert safety.answer(safety.ask(call_id="before")).message == refused(GIVEN_BEFORE)
    assert safety.answer(safety.ask(call_id="b")).success
    assert "before" in ResetIds(path)


def test_a_disk_that_refuses_an_id_refuses_its_reset(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "releases"
    path.mkdir()  # neither read nor written
    safety = HeldUp(peer, ResetIds(path))
    safety.stop("ann")
    message = safety.answer(safety.ask(call_id="a", seal=safety.seal)).message
    assert str(path) in message and message.endswith("ask without one")
    assert safety.latch.is_set
    assert safety.answer(safety.ask(seal=safety.seal)).success


def test_a_stop_waits_for_no_reset_that_is_void(peer: Peer) -> None:
    safety = HeldUp(peer)
    safety.orders.send(EstopCommand(stop=False, who="bob", deadline_s=time.monotonic() - 1.0))
    safety.orders.send(EstopCommand(stop=True, who="ann"))
    safety.orders.send(EstopCommand(stop=False, who="bob", after_stops=0))
    safety.tick()
    state = safety.reports.message()
    assert (state.latched, state.who) == (True, "ann")
