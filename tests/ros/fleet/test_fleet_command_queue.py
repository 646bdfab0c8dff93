"""The desk of operators' orders: what hangs keeps nothing else waiting, and nothing is carried out late."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conditions import wait_for
from ports import free_base_port

from floop_robot.ros.fleet import command_queue
from floop_robot.ros.fleet.command_queue import Errand, FleetDesk, Outcome, Ticket, TooMany
from floop_robot.ros.fleet.convergence_watcher import FleetWatch
from floop_robot.deploy.registry import FLEET
from floop_robot.deploy import Drain, Hold, Order, Pin, Push, Remark, Resume, Rollback, SeenBatch
from tests.bundle.sample_bundles import make_bundle
from tests.deploy.in_process_fleet import ManagerThread

WHO = "anna"


class SlowFile:
    """A file that is read for as long as nobody feeds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def push(self, begin_s: float = 60.0, scope: str = FLEET) -> Errand:
        def order() -> Order:
            return Push(who=WHO, why=self.path.name, bundle=self.path.read_bytes(), scope=scope)

        return Errand("push", order, begin_s=begin_s, reads=True)

    def feed(self, data: bytes) -> None:
        """Let it be read to its end; the reader must be there."""

        def opened() -> int | None:
            with contextlib.suppress(OSError):  # nobody reads it yet
                return os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            return None

        with os.fdopen(wait_for(opened, what="its reader"), "wb") as pipe:
            os.set_blocking(pipe.fileno(), True)
            pipe.write(data)

    def give_up(self) -> None:
        """Send on its way whoever still reads it."""
        os.close(os.open(self.path, os.O_RDWR | os.O_NONBLOCK))


class Desk:
    """A desk, its fleet manager, and files that hang."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manager = folder, ManagerThread(folder)
        self.files: list[SlowFile] = []
        self.client = self.manager.client(WHO)
        self.watch = FleetWatch(self.manager.rpc)
        self.desk = FleetDesk(self.manager.rpc, self.watch)

    def slow_file(self) -> SlowFile:
        self.files.append(SlowFile(self.folder / f"slow_{len(self.files)}.floop"))
        return self.files[-1]

    def take(self, errand: Errand) -> Ticket:
        ticket = Ticket(errand, lambda: None)
        self.desk.take(ticket)
        return ticket

    def order(self, kind: str, order: Order) -> Outcome:
        """Have an order carried out, and wait for it."""
        return outcome(self.take(Errand(kind, lambda: order)))

    def audit(self) -> list[str]:
        return [entry.detail for entry in self.client.status().audit]

    def close(self) -> None:
        for file in self.files:
            file.give_up()
        self.client.close()
        self.manager.stop()


def outcome(ticket: Ticket) -> Outcome:
    return wait_for(lambda: ticket.outcome, what="an outcome")


def readers() -> int:
    return sum(thread.name == "fleet-order-file" for thread in threading.enumerate())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    with contextlib.closing(made), made.watch, made.desk:
        yield made
    for file in made.files:
        file.give_up()
    wait_for(lambda: readers() == 0, what="the end of the readers")


def test_no_order_of_another_kind_waits_for_a_file(desk: Desk) -> None:
    file = desk.slow_file()
    pushed = desk.take(file.push())
    for kind, order in (
        ("hold", Hold(who=WHO, scope=FLEET)),
        ("hold", Resume(who=WHO, scope=FLEET)),
        ("drain", Drain(who=WHO, scope=FLEET, drain=True)),
        ("drain", Drain(who=WHO, scope=FLEET, drain=False)),
    ):
        assert desk.order(kind, order).done is not None
    assert pushed.outcome is None


def test_orders_of_one_kind_are_carried_out_as_they_arrive(desk: Desk) -> None:
    first, second = desk.slow_file(), desk.slow_file()
    tickets = [desk.take(file.push()) for file in (first, second)]
    tickets.append(desk.take(Errand("push", lambda: Push(who=WHO, why="no file", version=1))))
    second.feed(make_bundle(2).to_bytes())
    assert desk.order("remark", Remark(who=WHO, what="nothing")).done is not None
    assert [ticket.outcome for ticket in tickets] == [None] * 3
    first.feed(make_bundle(1).to_bytes())
    assert [outcome(ticket).done is not None for ticket in tickets] == [True] * 3
    assert [why for why in desk.audit() if why in ("slow_0.floop", "slow_1.floop", "no file")] == [
        "slow_0.floop", "slow_1.floop", "no file"
    ]  # fmt: skip


@pytest.mark.parametrize("door", ["desk", "command line"])
@pytest.mark.parametrize(
    ("kind", "later"),
    [
        ("rollback", Rollback(who="bob", version=1)),
        ("pin", Pin(who="bob", scope=FLEET, version=1)),
        ("hold", Hold(who="bob", scope=FLEET)),
        ("drain", Drain(who="bob", scope=FLEET)),
    ],
)
def test_an_order_whose_file_is_slow_undoes_none_that_came_after_it(
    desk: Desk, kind: str, later: Order, door: str
) -> None:
    desk.client.push(make_bundle(1))
    file = desk.slow_file()
    pushed = desk.take(file.push())
    waits_behind = desk.take(Errand("push", lambda: Push(who=WHO, version=2)))
    if door == "desk":
        done = desk.order(kind, later).done
    else:
        wait_for(lambda: min(pushed.taken_at, waits_behind.taken_at) >= 0, what="their place in the audit")
        done = desk.client.order(later)
    assert done is not None
    production = desk.client.status().production
    file.feed(make_bundle(2).to_bytes())
    for ticket in (pushed, waits_behind):
        error = outcome(ticket).error
        assert error.startswith(f"not done: bob {done.what} at ") and "\n" not in error
    assert desk.client.status().production == production
    if kind in ("hold", "drain"):  # one that comes later still is carried out
        assert desk.order("push", Push(who=WHO, version=2)).done is not None


def test_an_order_that_was_not_answered_may_have_been_carried_out_and_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_desk, "ORDER_TIMEOUT_S", 1.0)
    made, goes_on, hangs = Desk(tmp_path), threading.Event(), threading.Event()
    take = made.manager.feed.take

    def hang() -> SeenBatch | None:  # as a disk does
        hangs.set()
        goes_on.wait()
        return take()

    with contextlib.closing(made), made.watch, made.desk:
        made.client.push(make_bundle(1))
        file = made.slow_file()
        pushed = made.take(file.push())
        wait_for(lambda: pushed.taken_at >= 0, what="its place in the audit")
        made.manager.feed.take = hang
        assert hangs.wait(20)
        try:
            late = made.take(made.slow_file().push())
            error = outcome(late).error
            assert "no fleet manager answers" in error  # nothing was asked of it: this is not done later either
            error = made.order("rollback", Rollback(who="bob", version=1)).error
            assert "not known whether this order was carried out" in error and "floop status" in error
        finally:
            goes_on.set()
        production = wait_for(lambda: (now := made.client.status().production) > 2 and now, what="the rollback")
        file.feed(make_bundle(2).to_bytes())
        assert "bob rolled back to v1" in outcome(pushed).error
        assert made.client.status().production == production
        made.files[1].give_up()
    wait_for(lambda: readers() == 0)


def test_where_no_thread_can_be_started_the_desk_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "fleet-order-file":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(command_queue.MOST_READING + 1):
            error = outcome(desk.take(desk.slow_file().push())).error
            assert error == "not done: its file cannot be read: can't start new thread"
    assert desk.order("hold", Hold(who=WHO, scope=FLEET)).done is not None
    file = desk.slow_file()
    pushed = desk.take(file.push())
    file.feed(make_bundle(1).to_bytes())
    assert outcome(pushed).done is not None


def test_what_could_not_be_begun_in_time_is_never_done(desk: Desk) -> None:
    file = desk.slow_file()
    late = desk.take(file.push(begin_s=0.5))
    behind = desk.take(Errand("push", lambda: Push(who=WHO, why="behind", version=1), begin_s=0.4))
    assert outcome(behind).error == "not done: could not be begun within 0.4 s; call again later"
    assert outcome(late).error == "not done: could not read its file within 0.5 s; call again later"
    file.feed(make_bundle(1).to_bytes())
    wait_for(lambda: readers() == 0)
    after = desk.order("push", Push(who=WHO, why="after", version=1)).done
    assert after is not None and after.version == 2
    assert not {"slow_0.floop", "behind"} & set(desk.audit())


def test_an_order_is_not_done_when_the_fleet_manager_comes_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet_desk, "ORDER_TIMEOUT_S", 1.0)
    nobody = f"tcp://127.0.0.1:{free_base_port()}"
    with FleetWatch(nobody) as watch, FleetDesk(nobody, watch) as desk:
        tickets = [
            Ticket(Errand("hold", lambda: Hold(who=WHO, scope=FLEET), begin_s=begin_s), lambda: None)
            for begin_s in (10.0, 0.5)
        ]
        for ticket in tickets:
            desk.take(ticket)
        assert "no fleet manager answers" in outcome(tickets[0]).error
        assert outcome(tickets[1]).error == "not done: could not be begun within 0.5 s; call again later"


def test_files_that_hang_cost_a_bounded_number_of_threads_and_no_other_kind_its_place(desk: Desk) -> None:
    stuck = [desk.take(desk.slow_file().push()) for _ in range(command_queue.MOST_READING + 2)]
    wait_for(lambda: readers() == command_queue.MOST_READING)
    while len(stuck) < command_queue.MOST_QUEUED:
        stuck.append(desk.take(Errand("push", lambda: Push(who=WHO, version=1))))
    with pytest.raises(TooMany, match="call again later"):
        desk.take(Errand("push", lambda: Push(who=WHO, version=1)))
    assert desk.order("remark", Remark(who=WHO, what="nothing")).done is not None
    assert readers() == command_queue.MOST_READING and {ticket.outcome for ticket in stuck} == {None}
    desk.files[0].feed(make_bundle(1).to_bytes())
    assert outcome(stuck[0]).done is not None
    wait_for(lambda: readers() == command_queue.MOST_READING, what="the next being read")


def test_a_file_that_cannot_be_read_is_told_before_its_turn(desk: Desk) -> None:
    first = desk.take(desk.slow_file().push())

    def missing() -> Order:
        return Push(who=WHO, bundle=make_bundle(1).load(desk.folder / "none.floop").to_bytes())

    assert "none.floop" in outcome(desk.take(Errand("push", missing, reads=True))).error
    assert first.outcome is None


def test_closing_answers_what_was_not_begun(tmp_path: Path) -> None:
    made = Desk(tmp_path)
    with contextlib.closing(made), made.watch:
        with made.desk:
            tickets = [made.take(made.slow_file().push()) for _ in range(2)]
            wait_for(lambda: readers() == 2)
        assert [ticket.outcome for ticket in tickets] == [Outcome(error="not done: the fleet manager ends")] * 2
        with pytest.raises(TooMany):
            made.take(made.files[0].push())
        made.files[0].feed(make_bundle(1).to_bytes())
        assert made.client.status().production == 1
    wait_for(lambda: readers() == 0)
