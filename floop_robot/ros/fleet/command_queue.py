"""FleetCommandQueue: operators' orders, one at a time; what takes long (a file, waiting for robots) is done beside it.

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

from floop_robot.deploy import CommandResult, FleetClient, FleetCommand, Push
from floop_robot.deploy.convergence import NO_ROBOTS, Convergence, DesiredState
from floop_robot.ros.fleet.convergence_watcher import ConvergenceWait, ConvergenceWatcher
from floop_robot.spec.errors import FloopError

MAX_QUEUED: Final = 32
"""Of one kind. An order takes milliseconds; so many in a row means that one is stuck, and who asks should know."""
MAX_FILE_READERS: Final = 4
"""Threads that read files; one whose disk hangs keeps its thread."""
MAX_WAITERS: Final = 64
"""More than operators and their scripts have open; a client that keeps calling again fills it, and nothing else."""
BEGIN_S: Final = 10.0
"""An order that was not begun within this long is not done."""
ORDER_TIMEOUT_S: Final = 5.0
END_S: Final = 1.0
"""How long its thread may take to end: it may be asking a fleet manager that is gone."""

log = logging.getLogger(__name__)


class QueueFull(FloopError):
    """The queue takes no such order just now."""


class CommandRequest(msgspec.Struct, frozen=True):
    """What one call wants."""

    kind: str
    """Orders of one kind are carried out as they arrive."""
    order: Callable[[], FleetCommand]
    """Makes the order; raises `FloopError`."""
    aim: Callable[[CommandResult], DesiredState] = lambda _: NO_ROBOTS
    """Where the robots shall be once it is carried out …"""
    wait_s: float = 0.0
    """… and how long they are waited for."""
    begin_s: float = BEGIN_S
    """How long after its arrival it may be carried out; a file is read within this time as well."""
    reads: bool = False
    """Making the order reads a file, which may hang."""


class CommandOutcome(msgspec.Struct, frozen=True):
    """What became of a request."""

    done: CommandResult | None = None
    """None: it was not carried out, as far as is known, and `error` says why."""
    effect: Convergence | None = None
    """None: nobody knows how far the robots are, and `error` says why."""
    error: str = ""


class QueuedCommand:
    """A request under way; its outcome is there once it is not None."""

    def __init__(self, request: CommandRequest, notify: Callable[[], None]) -> None:
        """`notify` is called when there is an outcome."""
        self.request, self._notify = request, notify
        self.outcome: CommandOutcome | None = None
        self.until_s = time.monotonic() + request.begin_s
        """When it is too late to carry it out, by `time.monotonic`."""
        self.is_read = False
        """A thread reads its file, or has."""
        self.order: FleetCommand | None = None
        """What was made of its file."""
        self.accepted_at = -1
        """Where the audit ended when it was seen that it has to wait; -1 until then."""

    @property
    def is_ready(self) -> bool:
        """It waits for no file."""
        return not self.request.reads or self.order is not None

    def finish(self, outcome: CommandOutcome) -> None:
        """Hand out the outcome."""
        self.outcome = outcome
        self._notify()

    def fail(self, error: Exception) -> None:
        """It was not carried out, as far as is known."""
        if not isinstance(error, FloopError):  # the next order must not suffer for it
            log.error("order failed:\n%s", "".join(traceback.format_exception(error)))
            error = FloopError("a fault of the program; the fleet manager's log has it")
        self.finish(CommandOutcome(error=str(error)))

    def refuse(self, why: str) -> None:
        """It was not carried out and will not be."""
        self.finish(CommandOutcome(error=f"not done: {why}"))


class FleetCommandQueue:
    """Carries out requests; a context manager. `submit` and `forget` are for one thread."""

    def __init__(self, endpoint: str, watch: ConvergenceWatcher) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`."""
        self._endpoint, self._watcher = endpoint, watch
        self._changed = threading.Condition()
        self._queue: list[QueuedCommand] = []
        """What is not begun, by arrival."""
        self._reading = 0
        self._waiting: set[QueuedCommand] = set()
        """Those that want to wait for robots, from their arrival on."""
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="fleet-orders", daemon=True)

    def __enter__(self) -> FleetCommandQueue:
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
            for queued in self._queue:
                queued.refuse("the fleet manager ends")
            self._queue.clear()
            self._changed.notify()
        self._thread.join(max(0.0, until_s - time.monotonic()))

    def submit(self, queued: QueuedCommand) -> None:
        """Have it carried out after those of its kind that came before; raises `QueueFull`, and nothing is done."""
        request = queued.request
        if request.wait_s > 0 and len(self._waiting) >= MAX_WAITERS:
            raise QueueFull(f"{MAX_WAITERS} orders wait for robots already; call with wait_s 0, or later")
        with self._changed:
            if self._is_over:
                raise QueueFull("not done: the fleet manager ends")
            if sum(each.request.kind == request.kind for each in self._queue) >= MAX_QUEUED:
                raise QueueFull(f"{MAX_QUEUED} orders are to be carried out before this one; call again later")
            self._queue.append(queued)
            self._changed.notify()
        if request.wait_s > 0:
            self._waiting.add(queued)

    def forget(self, queued: QueuedCommand) -> None:
        """Nobody waits for its outcome any longer."""
        self._waiting.discard(queued)

    def _run(self) -> None:
        with FleetClient(self._endpoint, timeout_s=ORDER_TIMEOUT_S) as client:
            while (begun := self._begin()) is not None:
                waiting, queued = begun
                if waiting:
                    self._note_position(waiting, client)
                if queued is not None:
                    try:
                        self._carry_out(queued, client)
                    except Exception as error:
                        queued.fail(error)

    def _begin(self) -> tuple[Sequence[QueuedCommand], QueuedCommand | None] | None:
        """The next to carry out, after the position is known of those before it that have to wait; None at the end."""
        with self._changed:
            while not self._is_over:
                self._give_up_late_ones()
                self._read_files()
                held_up: set[str] = set()
                waiting: list[QueuedCommand] = []
                for place, queued in enumerate(self._queue):
                    if queued.is_ready and queued.request.kind not in held_up:
                        del self._queue[place]
                        return waiting, queued
                    held_up.add(queued.request.kind)
                    if queued.accepted_at < 0:
                        waiting.append(queued)
                if waiting:
                    return waiting, None
                due_s = min((each.until_s for each in self._queue), default=None)
                self._changed.wait(None if due_s is None else max(0.0, due_s - time.monotonic()))
        return None

    def _give_up_late_ones(self) -> None:
        now_s = time.monotonic()
        for queued in [each for each in self._queue if now_s >= each.until_s]:
            self._queue.remove(queued)
            what = "be begun" if queued.is_ready else "read its file"
            queued.refuse(f"could not {what} within {queued.request.begin_s:g} s; call again later")

    def _read_files(self) -> None:
        for queued in tuple(self._queue):
            kept = sum(each.is_read for each in self._queue)  # what is read and not begun yet fills memory
            if queued.request.reads and not queued.is_read and max(kept, self._reading) < MAX_FILE_READERS:
                queued.is_read = True
                try:
                    threading.Thread(target=self._read, args=(queued,), name="fleet-order-file", daemon=True).start()
                    self._reading += 1
                except RuntimeError as error:  # the machine is short of threads; orders without a file need none
                    self._queue.remove(queued)
                    queued.refuse(f"its file cannot be read: {error}")

    def _read(self, queued: QueuedCommand) -> None:
        order: FleetCommand | None = None
        failure: Exception | None = None
        try:
            order = queued.request.order()
        except Exception as error:
            failure = error
        with self._changed:
            self._reading -= 1
            queued.order = order
            if failure is not None and queued in self._queue:
                self._queue.remove(queued)
                queued.fail(failure)
            self._changed.notify()

    def _note_position(self, waiting: Sequence[QueuedCommand], client: FleetClient) -> None:
        """Where the audit ends now: what comes after it came later than these. Without it they are not done."""
        try:
            accepted_at = client.news().audit_to
        except Exception as error:
            with self._changed:
                for queued in [each for each in waiting if each in self._queue]:
                    self._queue.remove(queued)
                    queued.fail(error)
            return
        for queued in waiting:
            queued.accepted_at = accepted_at

    def _carry_out(self, queued: QueuedCommand, client: FleetClient) -> None:
        request = queued.request
        order = queued.order or request.order()
        if isinstance(order, Push):  # no other one waits
            order = msgspec.structs.replace(order, accepted_at=queued.accepted_at)
        done = client.send_command(order)
        try:
            robots = client.robots().robots
        except FloopError as error:
            queued.finish(CommandOutcome(done, error=str(error)))
            return
        aim = request.aim(done)
        first = aim.evaluate(robots)
        if request.wait_s <= 0 or not first.pending:
            queued.finish(CommandOutcome(done, first))
            return
        until_s = time.monotonic() + request.wait_s
        self._watcher.add(
            ConvergenceWait(aim, first, until_s, lambda effect: queued.finish(CommandOutcome(done, effect)))
        )
