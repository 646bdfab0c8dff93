"""FleetDesk: operators' orders, one at a time; what takes long (a file, waiting for robots) is done beside it.

An order waits only for earlier ones of its own kind: whoever pushed something bad can roll it back while the next push
still reads its file. What could not be begun in time is not done any more: by then its caller may have done without.
A push that had to wait says since when, and the fleet manager refuses it where another order came since.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from floop_robot.ros.fleet.convergence_watcher import FleetWatch, Wait
from floop_robot.deploy import Done, FleetClient, Order, Push
from floop_robot.deploy.convergence import NOBODY, Aim, Effect
from floop_robot.spec.errors import FloopError

MOST_QUEUED: Final = 32
"""Of one kind. An order takes milliseconds; so many in a row means that one is stuck, and who asks should know."""
MOST_READING: Final = 4
"""Threads that read files; one whose disk hangs keeps its thread."""
MOST_WAITING: Final = 64
"""More than operators and their scripts have open; a client that keeps calling again fills it, and nothing else."""
BEGIN_S: Final = 10.0
"""An order that was not begun within this long is not done."""
ORDER_TIMEOUT_S: Final = 5.0
END_S: Final = 1.0
"""How long its thread may take to end: it may be asking a fleet manager that is gone."""

log = logging.getLogger(__name__)


class TooMany(FloopError):
    """The desk takes no such order just now."""


class Errand(msgspec.Struct, frozen=True):
    """What one call wants."""

    kind: str
    """Orders of one kind are carried out as they arrive."""
    order: Callable[[], Order]
    """Makes the order; raises `FloopError`."""
    aim: Callable[[Done], Aim] = lambda _: NOBODY
    """Where the robots shall be once it is carried out …"""
    wait_s: float = 0.0
    """… and how long they are waited for."""
    begin_s: float = BEGIN_S
    """How long after its arrival it may be carried out; a file is read within this time as well."""
    reads: bool = False
    """Making the order reads a file, which may hang."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of an errand."""

    done: Done | None = None
    """None: it was not carried out, as far as is known, and `error` says why."""
    effect: Effect | None = None
    """None: nobody knows how far the robots are, and `error` says why."""
    error: str = ""


class Ticket:
    """An errand under way; its outcome is there once it is not None."""

    def __init__(self, errand: Errand, ring: Callable[[], None]) -> None:
        """`ring` is called when there is an outcome."""
        self.errand, self._ring = errand, ring
        self.outcome: Outcome | None = None
        self.until_s = time.monotonic() + errand.begin_s
        """When it is too late to carry it out, by `time.monotonic`."""
        self.is_read = False
        """A thread reads its file, or has."""
        self.order: Order | None = None
        """What was made of its file."""
        self.taken_at = -1
        """Where the audit ended when it was seen that it has to wait; -1 until then."""

    @property
    def is_ready(self) -> bool:
        """It waits for no file."""
        return not self.errand.reads or self.order is not None

    def finish(self, outcome: Outcome) -> None:
        """Hand out the outcome."""
        self.outcome = outcome
        self._ring()

    def fail(self, error: Exception) -> None:
        """It was not carried out, as far as is known."""
        if not isinstance(error, FloopError):  # the next order must not suffer for it
            log.error("order failed:\n%s", "".join(traceback.format_exception(error)))
            error = FloopError("a fault of the program; the fleet manager's log has it")
        self.finish(Outcome(error=str(error)))

    def refuse(self, why: str) -> None:
        """It was not carried out and will not be."""
        self.finish(Outcome(error=f"not done: {why}"))


class FleetDesk:
    """Carries out errands; a context manager. `take` and `leave` are for one thread."""

    def __init__(self, endpoint: str, watch: FleetWatch) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`."""
        self._endpoint, self._watch = endpoint, watch
        self._changed = threading.Condition()
        self._queue: list[Ticket] = []
        """What is not begun, by arrival."""
        self._reading = 0
        self._waiting: set[Ticket] = set()
        """Those that want to wait for robots, from their arrival on."""
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="fleet-orders", daemon=True)

    def __enter__(self) -> FleetDesk:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close(time.monotonic() + END_S)

    def start(self) -> None:
        """Begin to carry out what is taken."""
        self._thread.start()

    def close(self, until_s: float) -> None:
        """What has not begun is not done any more; what has gets until then, by `time.monotonic`, to end."""
        with self._changed:
            self._is_over = True
            for ticket in self._queue:
                ticket.refuse("the fleet manager ends")
            self._queue.clear()
            self._changed.notify()
        self._thread.join(max(0.0, until_s - time.monotonic()))

    def take(self, ticket: Ticket) -> None:
        """Have it carried out after those of its kind that came before; raises `TooMany`, and nothing is done."""
        errand = ticket.errand
        if errand.wait_s > 0 and len(self._waiting) >= MOST_WAITING:
            raise TooMany(f"{MOST_WAITING} orders wait for robots already; call with wait_s 0, or later")
        with self._changed:
            if self._is_over:
                raise TooMany("not done: the fleet manager ends")
            if sum(each.errand.kind == errand.kind for each in self._queue) >= MOST_QUEUED:
                raise TooMany(f"{MOST_QUEUED} orders are to be carried out before this one; call again later")
            self._queue.append(ticket)
            self._changed.notify()
        if errand.wait_s > 0:
            self._waiting.add(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Nobody waits for its outcome any longer."""
        self._waiting.discard(ticket)

    def _run(self) -> None:
        with FleetClient(self._endpoint, timeout_s=ORDER_TIMEOUT_S) as client:
            while (begun := self._begin()) is not None:
                waiting, ticket = begun
                if waiting:
                    self._note_position(waiting, client)
                if ticket is not None:
                    try:
                        self._carry_out(ticket, client)
                    except Exception as error:
                        ticket.fail(error)

    def _begin(self) -> tuple[Sequence[Ticket], Ticket | None] | None:
        """The next to carry out, after the position is known of those before it that have to wait; None at the end."""
        with self._changed:
            while not self._is_over:
                self._give_up_late_ones()
                self._read_files()
                held_up: set[str] = set()
                waiting: list[Ticket] = []
                for place, ticket in enumerate(self._queue):
                    if ticket.is_ready and ticket.errand.kind not in held_up:
                        del self._queue[place]
                        return waiting, ticket
                    held_up.add(ticket.errand.kind)
                    if ticket.taken_at < 0:
                        waiting.append(ticket)
                if waiting:
                    return waiting, None
                due_s = min((each.until_s for each in self._queue), default=None)
                self._changed.wait(None if due_s is None else max(0.0, due_s - time.monotonic()))
        return None

    def _give_up_late_ones(self) -> None:
        now_s = time.monotonic()
        for ticket in [each for each in self._queue if now_s >= each.until_s]:
            self._queue.remove(ticket)
            what = "be begun" if ticket.is_ready else "read its file"
            ticket.refuse(f"could not {what} within {ticket.errand.begin_s:g} s; call again later")

    def _read_files(self) -> None:
        for ticket in tuple(self._queue):
            kept = sum(each.is_read for each in self._queue)  # what is read and not begun yet fills memory
            if ticket.errand.reads and not ticket.is_read and max(kept, self._reading) < MOST_READING:
                ticket.is_read = True
                try:
                    threading.Thread(target=self._read, args=(ticket,), name="fleet-order-file", daemon=True).start()
                    self._reading += 1
                except RuntimeError as error:  # the machine is short of threads; orders without a file need none
                    self._queue.remove(ticket)
                    ticket.refuse(f"its file cannot be read: {error}")

    def _read(self, ticket: Ticket) -> None:
        order: Order | None = None
        failure: Exception | None = None
        try:
            order = ticket.errand.order()
        except Exception as error:
            failure = error
        with self._changed:
            self._reading -= 1
            ticket.order = order
            if failure is not None and ticket in self._queue:
                self._queue.remove(ticket)
                ticket.fail(failure)
            self._changed.notify()

    def _note_position(self, waiting: Sequence[Ticket], client: FleetClient) -> None:
        """Where the audit ends now: what comes after it came later than these. Without it they are not done."""
        try:
            taken_at = client.news().audit_to
        except Exception as error:
            with self._changed:
                for ticket in [each for each in waiting if each in self._queue]:
                    self._queue.remove(ticket)
                    ticket.fail(error)
            return
        for ticket in waiting:
            ticket.taken_at = taken_at

    def _carry_out(self, ticket: Ticket, client: FleetClient) -> None:
        errand = ticket.errand
        order = ticket.order or errand.order()
        if isinstance(order, Push):  # no other one waits
            order = msgspec.structs.replace(order, taken_at=ticket.taken_at)
        done = client.order(order)
        try:
            robots = client.robots().robots
        except FloopError as error:
            ticket.finish(Outcome(done, error=str(error)))
            return
        aim = errand.aim(done)
        first = aim.seen(robots)
        if errand.wait_s <= 0 or not first.behind:
            ticket.finish(Outcome(done, first))
            return
        until_s = time.monotonic() + errand.wait_s
        self._watch.add(Wait(aim, first, until_s, lambda effect: ticket.finish(Outcome(done, effect))))
