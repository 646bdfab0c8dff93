"""The protocol under loss, doubling, reordering and crashes of either side: exactly once, and never stuck."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.stream.messages import MAX_COMPARED, Ack, Compare, Compared, Data, Hello, Rejection, SentBlock
from floop_robot.stream.protocol import OutgoingBlock, SenderMachine, SenderSettings
from floop_robot.stream.receiver_stream import MAX_ANNOUNCED, BlockDecision, Mark, ReceiverStream
from tests.support.simulated_network import World, block_of

SETTINGS = SenderSettings(window_bytes=12, retry_s=1.0, retry_max_s=4.0)


def live_through(random: Random, steps: int, copies: int = 0) -> World:
    world = World(random, copies)
    for _ in range(steps):
        world.step()
    world.settle()
    assert sorted(world.stored) == sorted(set[int]().union(*world.recorded))
    return world


@settings(max_examples=80, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 120), st.integers(0, 2))
def test_any_schedule_ends_with_every_row_once(random: Random, steps: int, copies: int) -> None:
    live_through(random, steps, copies)


@pytest.mark.parametrize("batch", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 10))])
def test_thousands_of_random_schedules(batch: int) -> None:
    crashes = rows = 0
    for seed in range(1_000 * batch, 1_000 * (batch + 1)):
        world = live_through(Random(seed), 100)
        crashes += world.crashes
        rows += len(world.stored)
        assert [robot.boot_id for robot in world.robots] == ["b"]  # no conflict where there is no copy
    assert crashes > 2_500 and rows > 25_000  # the schedules did exercise something


@pytest.mark.parametrize("copies", [1, 2])
def test_copied_spools_lose_and_double_nothing_in_any_schedule(copies: int) -> None:
    forks = 0
    for seed in range(500):
        forks += sum(robot.boot_id != "b" for robot in live_through(Random(seed), 100, copies).robots)
    assert forks > 200


def greeted(settings: SenderSettings = SETTINGS, limit: int = 100) -> SenderMachine:
    machine = SenderMachine("r", "b", 0, limit, 0, settings)
    [(hello, _)] = machine.poll(0.0)
    assert isinstance(hello, Hello)
    machine.on_message(Ack("b", 0, 100, nonce=hello.nonce), 0.0)
    return machine


def sent(machine: SenderMachine, now: float) -> list[int]:
    return [message.first_seq for message, _ in machine.poll(now) if isinstance(message, Data)]


def offer(machine: SenderMachine, *borders: int) -> None:
    for first, end in itertools.pairwise(borders):
        machine.offer(OutgoingBlock(first, end, bytes(end - first)))


def test_no_data_is_sent_before_ingest_answers_hello() -> None:
    machine = SenderMachine("r", "b", 0, 100, 0, SETTINGS)
    assert not machine.has_room
    [(hello, payload)] = machine.poll(0.0)
    assert isinstance(hello, Hello) and payload == b"" and machine.poll(0.5) == []


def test_credit_holds_the_sender_back_but_never_stops_it() -> None:
    machine = greeted()
    machine.on_message(Ack("b", 0, 0), 0.0)
    offer(machine, 0, 3, 6, 9)
    assert sent(machine, 0.0) == [0]
    machine.on_message(Ack("b", 3, 6), 0.1)
    assert sent(machine, 0.1) == [3, 6]


def test_the_window_bounds_what_is_held() -> None:
    machine = greeted()
    offer(machine, 0, 4, 8, 12)
    assert not machine.has_room
    machine.on_message(Ack("b", 4, 100), 0.0)
    assert machine.has_room


def test_silence_ends_in_a_hello_with_growing_pauses() -> None:
    machine = greeted()
    offer(machine, 0, 3)
    assert sent(machine, 0.0) == [0]
    times = []
    now = 0.0
    while len(times) < 5:
        now = machine.next_timeout
        assert isinstance(machine.poll(now)[0][0], Hello)
        times.append(now)
    assert [round(b - a, 6) for a, b in itertools.pairwise(times)] == [1.0, 2.0, 4.0, 4.0]


def test_a_gap_is_resent_once_not_once_per_request() -> None:
    machine = greeted()
    offer(machine, 0, 3, 6)
    assert sent(machine, 0.0) == [0, 3]
    machine.on_message(Ack("b", 0, 100, resend=True), 0.1)
    assert sent(machine, 0.1) == [0, 3]
    machine.on_message(Ack("b", 0, 100, resend=True), 0.2)
    assert sent(machine, 0.2) == []


def test_a_journal_restored_from_a_backup_gets_back_what_the_robot_still_has() -> None:
    machine = greeted()
    offer(machine, 0, 3, 6, 9)
    sent(machine, 0.0)
    machine.on_message(Ack("b", 9, 100), 0.1)
    machine.set_stored_range(3, 100)
    offer(machine, 9, 12)
    sent(machine, 0.2)
    [(hello, _)] = machine.poll(machine.next_timeout)
    assert isinstance(hello, Hello) and hello.first_seq == 3
    receiver = ReceiverStream(Mark(6))  # the backup
    answer = receiver.on_hello(hello, 100)
    assert answer is not None
    machine.on_message(answer, 5.0)
    assert machine.end == machine.acked == 6


def test_an_answer_from_before_a_deletion_does_not_send_it_back() -> None:
    machine = greeted()
    offer(machine, 0, 3, 6)
    sent(machine, 0.0)
    [(late, _)] = machine.poll(machine.next_timeout)
    assert isinstance(late, Hello)
    machine.on_message(Ack("b", 6, 100), 2.0)
    machine.on_message(Ack("b", 0, 100, nonce=late.nonce), 2.1)  # written before the commit, overtaken by it
    assert machine.end == 0
    machine.set_stored_range(6, 100)
    assert machine.end == machine.acked == 6


def test_a_journal_that_lost_more_than_the_robot_has_goes_on_with_a_gap() -> None:
    receiver = ReceiverStream(Mark(2))
    answer = receiver.on_hello(Hello("r", "b", 10, 1), 100)
    assert isinstance(answer, Ack) and answer.next_seq == 10
    assert receiver.on_data(Data("r", "b", 9, 12)) is BlockDecision.GAP
    assert receiver.on_data(Data("r", "b", 10, 12)) is BlockDecision.ACCEPT
    receiver.accept(12)
    assert receiver.on_data(Data("r", "b", 12, 13)) is BlockDecision.ACCEPT


def test_a_block_is_taken_only_after_the_one_that_its_sender_sent_before() -> None:
    receiver = ReceiverStream(Mark(2, crc=5))
    assert receiver.on_data(Data("r", "b", 2, 4, after_crc=6)) is BlockDecision.GAP
    assert receiver.on_data(Data("r", "b", 2, 4, after_crc=5)) is BlockDecision.ACCEPT
    assert receiver.on_data(Data("r", "b", 2, 4)) is BlockDecision.ACCEPT  # an older floop does not say


@pytest.mark.parametrize("mark", [None, 2])
@pytest.mark.parametrize("claimed", [7, 2**40])
def test_a_foreign_hello_moves_nothing(mark: int | None, claimed: int) -> None:
    receiver, own = ReceiverStream(None if mark is None else Mark(mark)), mark or 0
    assert receiver.on_hello(Hello("r", "b", 0, 1), 100, b"robot") == Ack("b", own, 100, nonce=1)
    assert isinstance(receiver.on_hello(Hello("r", "b", claimed, 5), 100, b"stranger"), Ack)
    assert receiver.on_data(Data("r", "b", 7, 9), b"robot") in (
        BlockDecision.GAP,
        BlockDecision.UNKNOWN_STREAM,
    )  # 2..6 may be on their way
    assert receiver.on_hello(Hello("r", "b", 0, 2), 100, b"robot") == Ack("b", own, 100, nonce=2)
    assert receiver.on_data(Data("r", "b", own, own + 2), b"robot") is BlockDecision.ACCEPT
    receiver.accept(own + 2)
    receiver.commit()
    assert receiver.committed == Mark(own + 2)


def test_a_gap_is_not_decided_while_a_transaction_is_open() -> None:
    receiver = ReceiverStream(Mark(2))
    receiver.accept(4)
    assert receiver.on_hello(Hello("r", "b", 10, 1), 100) is None
    receiver.commit()
    answer = receiver.on_hello(Hello("r", "b", 10, 2), 100)
    assert isinstance(answer, Ack) and answer.next_seq == 10


class Disk:
    """Blocks of a spool."""

    def __init__(self, *borders: int) -> None:
        self.blocks = [block_of(a, list(range(a, b))) for a, b in itertools.pairwise(borders)]

    def from_seq(self, seq: int, most: int) -> list[SentBlock]:
        return [block.name for block in self.blocks if block.end_seq > seq][:most]


def answered(disk: Disk, next_seq: int, crc: int) -> SenderMachine:
    """A machine whose Hello was answered with this mark."""
    machine = SenderMachine("r", "b", 0, disk.blocks[-1].end_seq, 0, SETTINGS, disk)
    [(hello, _)] = machine.poll(0.0)
    assert isinstance(hello, Hello)
    machine.on_message(Ack("b", next_seq, 100, nonce=hello.nonce, crc=crc), 0.0)
    return machine


def asked(machine: SenderMachine) -> Compare:
    [(compare, payload)] = machine.poll(machine.next_timeout)
    assert isinstance(compare, Compare) and payload == b"" and not machine.has_room
    return compare


def test_records_that_ingest_has_just_so_are_not_sent_again() -> None:
    disk = Disk(0, 3, 6, 9)
    machine = answered(disk, 6, disk.blocks[1].crc)
    assert not machine.conflict and machine.has_room and machine.end == 6


@pytest.mark.parametrize(("next_seq", "crc"), [(6, 1), (5, 0xFFFF), (50, 0), (50, 1)])
def test_a_mark_that_is_not_of_these_records_is_not_believed(next_seq: int, crc: int) -> None:
    disk = Disk(0, 3, 6, 9)
    machine = answered(disk, next_seq, crc)
    assert "copied or restored" in machine.conflict and machine.acked == 0
    compare = asked(machine)
    assert compare.blocks == tuple(block.name for block in disk.blocks)
    machine.on_message(Compared("b", compare.nonce, 3, 50), 0.0)
    assert machine.fork_seq == 3 and machine.poll(100.0) == []


def test_a_spool_that_ingest_has_whole_goes_on_elsewhere_after_its_end() -> None:
    machine = answered(Disk(0, 3, 6, 9), 50, 1)
    machine.on_message(Compared("b", asked(machine).nonce, 9, 50), 0.0)
    assert machine.fork_seq == 9


def test_an_ingest_that_has_nothing_else_ends_the_conflict() -> None:
    machine = answered(Disk(0, 3, 6, 9), 6, 1)
    machine.on_message(Compared("b", asked(machine).nonce, 6, 6), 0.0)
    assert machine.fork_seq is None and not machine.conflict
    [(hello, _)] = machine.poll(machine.next_timeout)
    assert isinstance(hello, Hello)


def test_many_blocks_are_compared_in_parts() -> None:
    disk = Disk(*range(MAX_COMPARED + 11))
    machine = answered(disk, 5000, 1)
    machine.on_message(Compared("b", asked(machine).nonce, MAX_COMPARED, 5000), 0.0)
    compare = asked(machine)
    assert compare.blocks[0].first_seq == MAX_COMPARED and len(compare.blocks) == 10
    machine.on_message(Compared("b", compare.nonce, MAX_COMPARED + 4, 5000), 0.0)
    assert machine.fork_seq == MAX_COMPARED + 4


def test_an_ack_of_other_records_under_way_is_not_believed() -> None:
    machine = greeted()
    offer(machine, 0, 3, 6)
    assert sent(machine, 0.0) == [0, 3]
    machine.on_message(Ack("b", 3, 100, crc=1), 0.1)
    assert machine.conflict and machine.acked == 0


def test_a_block_that_ingest_compared_by_itself_is_compared_at_once() -> None:
    machine = greeted()
    offer(machine, 0, 3, 6)
    assert sent(machine, 0.0) == [0, 3]
    machine.on_message(Compared("b", 0, 3, 9), 0.1)
    assert machine.conflict


def test_what_was_sent_may_be_answered_for_after_a_silence() -> None:
    machine = greeted(limit=0)
    machine.set_stored_range(0, 6)
    offer(machine, 0, 3, 6)
    assert sent(machine, 0.0) == [0, 3]
    [(hello, _)] = machine.poll(machine.next_timeout)
    assert isinstance(hello, Hello)
    machine.on_message(Ack("b", 6, 100, nonce=hello.nonce), 2.0)
    assert not machine.conflict and machine.acked == 6


@pytest.mark.parametrize("strangers", [1, MAX_ANNOUNCED - 1])
def test_strangers_who_say_hello_in_between_do_not_hold_a_first_block_up(strangers: int) -> None:
    receiver = ReceiverStream(None)
    assert receiver.on_hello(Hello("r", "b", 0, 1), 100, b"robot")
    for number in range(50 * strangers):
        assert receiver.on_hello(Hello("r", "b", 2**40, number), 100, b"stranger %d" % (number % strangers))
    assert receiver.on_data(Data("r", "b", 0, 5), b"robot") is BlockDecision.ACCEPT


def test_ever_new_strangers_fill_no_memory() -> None:
    receiver = ReceiverStream(None)
    for number in range(1000):
        receiver.on_hello(Hello("r", "b", 7, number), 100, b"stranger %d" % number)
    known = [
        n for n in range(1000) if receiver.on_data(Data("r", "b", 7, 9), b"stranger %d" % n) is BlockDecision.ACCEPT
    ]
    assert known == list(range(1000 - MAX_ANNOUNCED, 1000))


def test_a_block_refused_again_and_again_is_named_for_replacement() -> None:
    machine = greeted()
    offer(machine, 0, 3, 6)
    now = 0.0
    for _ in range(3):
        assert machine.must_replace is None
        assert sent(machine, now) == [0, 3]
        machine.on_message(Rejection("b", 0, "NaN"), now)
        now = machine.next_timeout
        [(hello, _)] = machine.poll(now)
        assert isinstance(hello, Hello)
        machine.on_message(Ack("b", 0, 100, nonce=hello.nonce), now)
    assert machine.must_replace == OutgoingBlock(0, 3, bytes(3)) and machine.refusal == "NaN"
    machine.replace_first(b"instead")
    assert machine.poll(now)[0][1] == b"instead"


def test_another_protocol_is_refused_by_name() -> None:
    answer = ReceiverStream(None).on_hello(Hello("r", "b", 0, 1, protocol=9), 100)
    assert isinstance(answer, Rejection) and "protocol 9" in answer.reason
    machine = SenderMachine("r", "b", 0, 5, 0, SETTINGS)
    machine.poll(0.0)
    machine.on_message(answer, 0.0)
    assert "protocol 9" in machine.refusal


def test_messages_of_other_streams_change_nothing() -> None:
    machine = greeted()
    offer(machine, 0, 3)
    sent(machine, 0.0)
    machine.on_message(Ack("other", 3, 100), 0.1)
    assert machine.acked == 0
