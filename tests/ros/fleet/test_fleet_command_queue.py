"""The queue of operators' orders: what hangs keeps nothing else waiting, and nothing is carried out late."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from floop_robot.ros.fleet.command_queue import (
    CommandOutcome,
    CommandRequest,
    FleetCommandQueue,
    QueuedCommand,
    QueueFull,
)
from floop_robot.ros.fleet.convergence_watcher import ConvergenceWatcher

from floop_robot.deploy import AuditNote, Drain, FleetCommand, Hold, LiveBatch, Pin, Push, Resume, Rollback
from floop_robot.deploy.registry import FLEET
from floop_robot.ros.fleet import command_queue
from tests.support.in_process_fleet import ManagerThread
from tests.support.ports import free_base_port
from tests.support.sample_bundles import make_bundle
from tests.support.waiting import wait_for

WHO = "anna"


class SlowFile:
    """A file that is read for as long as nobody feeds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def push(self, begin_s: float = 60.0, scope: str = FLEET) -> CommandRequest:
        def order() -> FleetCommand:
            return Push(who=WHO, why=self.path.name, bundle=self.path.read_bytes(), scope=scope)

        return CommandRequest("push", order, begin_s=begin_s, reads=True)

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


class QueueRig:
    """A queue, its fleet manager, and files that hang."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.manager = folder, ManagerThread(folder)
        self.files: list[SlowFile] = []
        self.client = self.manager.client(WHO)
        self.watch = ConvergenceWatcher(self.manager.rpc)
        self.queue = FleetCommandQueue(self.manager.rpc, self.watch)

    def slow_file(self) -> SlowFile:
        self.files.append(SlowFile(self.folder / f"slow_{len(self.files)}.floop"))
        return self.files[-1]

    def submit(self, request: CommandRequest) -> QueuedCommand:
        queued = QueuedCommand(request, lambda: None)
        self.queue.submit(queued)
        return queued

    def order(self, kind: str, order: FleetCommand) -> CommandOutcome:
        """Have an order carried out, and wait for it."""
        return outcome(self.submit(CommandRequest(kind, lambda: order)))

    def audit(self) -> list[str]:
        return [entry.detail for entry in self.client.status().audit]

    def close(self) -> None:
        for file in self.files:
            file.give_up()
        self.client.close()
        self.manager.stop()


def outcome(queued: QueuedCommand) -> CommandOutcome:
    return wait_for(lambda: queued.outcome, what="an outcome")


def readers() -> int:
    return sum(thread.name == "fleet-order-file" for thread in threading.enumerate())


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[QueueRig]:
    made = QueueRig(tmp_path)
    with contextlib.closing(made), made.watch, made.queue:
        yield made
    for file in made.files:
        file.give_up()
    wait_for(lambda: readers() == 0, what="the end of the readers")


def test_no_order_of_another_kind_waits_for_a_file(queue: QueueRig) -> None:
    file = queue.slow_file()
    pushed = queue.submit(file.push())
    for kind, order in (
        ("hold", Hold(who=WHO, scope=FLEET)),
        ("hold", Resume(who=WHO, scope=FLEET)),
        ("drain", Drain(who=WHO, scope=FLEET, drain=True)),
        ("drain", Drain(who=WHO, scope=FLEET, drain=False)),
    ):
        assert queue.order(kind, order).done is not None
    assert pushed.outcome is None


def test_orders_of_one_kind_are_carried_out_as_they_arrive(queue: QueueRig) -> None:
    first, second = queue.slow_file(), queue.slow_file()
    all_queued = [queue.submit(file.push()) for file in (first, second)]
    all_queued.append(queue.submit(CommandRequest("push", lambda: Push(who=WHO, why="no file", version=1))))
    second.feed(make_bundle(2).to_bytes())
    assert queue.order("remark", AuditNote(who=WHO, what="nothing")).done is not None
    assert [queued.outcome for queued in all_queued] == [None] * 3
    first.feed(make_bundle(1).to_bytes())
    assert [outcome(queued).done is not None for queued in all_queued] == [True] * 3
    assert [why for why in queue.audit() if why in ("slow_0.floop", "slow_1.floop", "no file")] == [
        "slow_0.floop", "slow_1.floop", "no file"
    ]  # fmt: skip


@pytest.mark.parametrize("door", ["queue", "command line"])
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
    queue: QueueRig, kind: str, later: FleetCommand, door: str
) -> None:
    queue.client.push(make_bundle(1))
    file = queue.slow_file()
    pushed = queue.submit(file.push())
    waits_behind = queue.submit(CommandRequest("push", lambda: Push(who=WHO, version=2)))
    if door == "queue":
        done = queue.order(kind, later).done
    else:
        wait_for(lambda: min(pushed.accepted_at, waits_behind.accepted_at) >= 0, what="their place in the audit")
        done = queue.client.send_command(later)
    assert done is not None
    production = queue.client.status().production
    file.feed(make_bundle(2).to_bytes())
    for queued in (pushed, waits_behind):
        error = outcome(queued).error
        assert error.startswith(f"not done: bob {done.what} at ") and "\n" not in error
    assert queue.client.status().production == production
    if kind in ("hold", "drain"):  # one that comes later still is carried out
        assert queue.order("push", Push(who=WHO, version=2)).done is not None


def test_an_order_that_was_not_answered_may_have_been_carried_out_and_is_not_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_queue, "ORDER_TIMEOUT_S", 1.0)
    made, goes_on, hangs = QueueRig(tmp_path), threading.Event(), threading.Event()
    take = made.manager.feed.take

    def hang() -> LiveBatch | None:  # as a disk does
        hangs.set()
        goes_on.wait()
        return take()

    with contextlib.closing(made), made.watch, made.queue:
        made.client.push(make_bundle(1))
        file = made.slow_file()
        pushed = made.submit(file.push())
        wait_for(lambda: pushed.accepted_at >= 0, what="its place in the audit")
        made.manager.feed.take = hang
        assert hangs.wait(20)
        try:
            late = made.submit(made.slow_file().push())
            error = outcome(late).error
            assert "no fleet manager answers" in error  # nothing was asked of it: this is not done later either
            error = made.order("rollback", Rollback(who="bob", version=1)).error
            assert "not known whether this command was carried out" in error and "floop status" in error
        finally:
            goes_on.set()
        production = wait_for(lambda: (now := made.client.status().production) > 2 and now, what="the rollback")
        file.feed(make_bundle(2).to_bytes())
        assert "bob rolled back to v1" in outcome(pushed).error
        assert made.client.status().production == production
        made.files[1].give_up()
    wait_for(lambda: readers() == 0)


def test_where_no_thread_can_be_started_the_queue_goes_on(queue: QueueRig, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "fleet-order-file":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for _ in range(command_queue.MAX_FILE_READERS + 1):
            error = outcome(queue.submit(queue.slow_file().push())).error
            assert error == "not done: its file cannot be read: can't start new thread"
    assert queue.order("hold", Hold(who=WHO, scope=FLEET)).done is not None
    file = queue.slow_file()
    pushed = queue.submit(file.push())
    file.feed(make_bundle(1).to_bytes())
    assert outcome(pushed).done is not None


def test_what_could_not_be_begun_in_time_is_never_done(queue: QueueRig) -> None:
    file = queue.slow_file()
    late = queue.submit(file.push(begin_s=0.5))
    behind = queue.submit(CommandRequest("push", lambda: Push(who=WHO, why="behind", version=1), begin_s=0.4))
    assert outcome(behind).error == "not done: could not be begun within 0.4 s; call again later"
    assert outcome(late).error == "not done: could not read its file within 0.5 s; call again later"
    file.feed(make_bundle(1).to_bytes())
    wait_for(lambda: readers() == 0)
    after = queue.order("push", Push(who=WHO, why="after", version=1)).done
    assert after is not None and after.version == 2
    assert not {"slow_0.floop", "behind"} & set(queue.audit())


def test_an_order_is_not_done_when_the_fleet_manager_comes_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_queue, "ORDER_TIMEOUT_S", 1.0)
    nobody = f"tcp://127.0.0.1:{free_base_port()}"
    with ConvergenceWatcher(nobody) as watch, FleetCommandQueue(nobody, watch) as queue:
        all_queued = [
            QueuedCommand(CommandRequest("hold", lambda: Hold(who=WHO, scope=FLEET), begin_s=begin_s), lambda: None)
            for begin_s in (10.0, 0.5)
        ]
        for queued in all_queued:
            queue.submit(queued)
        assert "no fleet manager answers" in outcome(all_queued[0]).error
        assert outcome(all_queued[1]).error == "not done: could not be begun within 0.5 s; call again later"


def test_files_that_hang_cost_a_bounded_number_of_threads_and_no_other_kind_its_place(queue: QueueRig) -> None:
    stuck = [queue.submit(queue.slow_file().push()) for _ in range(command_queue.MAX_FILE_READERS + 2)]
    wait_for(lambda: readers() == command_queue.MAX_FILE_READERS)
    while len(stuck) < command_queue.MAX_QUEUED:
        stuck.append(queue.submit(CommandRequest("push", lambda: Push(who=WHO, version=1))))
    with pytest.raises(QueueFull, match="call again later"):
        queue.submit(CommandRequest("push", lambda: Push(who=WHO, version=1)))
    assert queue.order("remark", AuditNote(who=WHO, what="nothing")).done is not None
    assert readers() == command_queue.MAX_FILE_READERS and {queued.outcome for queued in stuck} == {None}
    queue.files[0].feed(make_bundle(1).to_bytes())
    assert outcome(stuck[0]).done is not None
    wait_for(lambda: readers() == command_queue.MAX_FILE_READERS, what="the next being read")


def test_a_file_that_cannot_be_read_is_told_before_its_turn(queue: QueueRig) -> None:
    first = queue.submit(queue.slow_file().push())

    def missing() -> FleetCommand:
        return Push(who=WHO, bundle=make_bundle(1).load(queue.folder / "none.floop").to_bytes())

    assert "none.floop" in outcome(queue.submit(CommandRequest("push", missing, reads=True))).error
    assert first.outcome is None


def test_closing_answers_what_was_not_begun(tmp_path: Path) -> None:
    made = QueueRig(tmp_path)
    with contextlib.closing(made), made.watch:
        with made.queue:
            all_queued = [made.submit(made.slow_file().push()) for _ in range(2)]
            wait_for(lambda: readers() == 2)
        assert [queued.outcome for queued in all_queued] == [
            CommandOutcome(error="not done: the fleet manager ends")
        ] * 2
        with pytest.raises(QueueFull):
            made.submit(made.files[0].push())
        made.files[0].feed(make_bundle(1).to_bytes())
        assert made.client.status().production == 1
    wait_for(lambda: readers() == 0)
