"""FleetDesk: operators' orders in order of arrival, one at a time; those that wait for robots do so beside it."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

import msgspec

from floop_robot.nodes.fleet_watch import FleetWatch, Wait
from floop_robot.rollout import Done, FleetClient, Order
from floop_robot.rollout.effect import NOBODY, Aim, Effect
from floop_robot.spec.errors import FloopError

MOST_QUEUED: Final = 32
"""An order takes milliseconds; so many in a row means that one is stuck, and who asks should know."""
MOST_WAITING: Final = 64
"""More than operators and their scripts have open; a client that keeps calling again fills it, and nothing else."""
ORDER_TIMEOUT_S: Final = 5.0
END_S: Final = 1.0
"""How long its thread may take to end: it may be reading a file that hangs."""

log = logging.getLogger(__name__)


class TooMany(FloopError):
    """The desk takes no such order just now."""


class Errand(msgspec.Struct, frozen=True):
    """What one call wants."""

    order: Callable[[], Order]
    """Makes the order, which may take long (files are read); raises `FloopError`."""
    aim: Callable[[Done], Aim] = lambda _: NOBODY
    """Where the robots shall be once it is carried out …"""
    wait_s: float = 0.0
    """… and how long they are waited for."""


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

    def finish(self, outcome: Outcome) -> None:
        """Hand out the outcome."""
        self.outcome = outcome
        self._ring()


class FleetDesk:
    """Carries out errands; a context manager. `take` and `leave` are for one thread."""

    def __init__(self, endpoint: str, watch: FleetWatch) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`."""
        self._endpoint, self._watch = endpoint, watch
        self._queue: queue.Queue[Ticket | None] = queue.Queue(MOST_QUEUED)
        self._waiting: set[Ticket] = set()
        """Those that want to wait for robots, from their arrival on."""
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="fleet-orders", daemon=True)

    def __enter__(self) -> FleetDesk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What has not begun is not done any more."""
        self._is_over = True
        with contextlib.suppress(queue.Full):  # it looks before each
            self._queue.put_nowait(None)
        self._thread.join(END_S)

    def take(self, ticket: Ticket) -> None:
        """Have it carried out after all that came before; raises `TooMany`, and nothing is done."""
        if ticket.errand.wait_s > 0 and len(self._waiting) >= MOST_WAITING:
            raise TooMany(f"{MOST_WAITING} orders wait for robots already; call with wait_s 0, or later")
        try:
            self._queue.put_nowait(ticket)
        except queue.Full:
            raise TooMany(f"{MOST_QUEUED} orders are to be carried out before this one; call again later") from None
        if ticket.errand.wait_s > 0:
            self._waiting.add(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Nobody waits for its outcome any longer."""
        self._waiting.discard(ticket)

    def _run(self) -> None:
        with FleetClient(self._endpoint, timeout_s=ORDER_TIMEOUT_S) as client:
            while (ticket := self._queue.get()) is not None and not self._is_over:
                try:
                    self._carry_out(ticket, client)
                except FloopError as error:
                    ticket.finish(Outcome(error=str(error)))
                except Exception:  # the next order must not suffer for it
                    log.error("order failed:\n%s", traceback.format_exc())
                    ticket.finish(Outcome(error="a fault of the program; the fleet manager's log has it"))

    def _carry_out(self, ticket: Ticket, client: FleetClient) -> None:
        errand = ticket.errand
        order = errand.order()
        if self._is_over:
            return
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
