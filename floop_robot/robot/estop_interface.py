"""EstopInterface: how other threads stop, reset and start an arm whose servo loop runs. The servo thread decides."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Final

from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.messages import EstopAnswer, EstopCommand, EstopState, ResetCommand, StopCommand
from floop_robot.robot.operators import OperatorTokens

OBEY_TIMEOUT_S: Final = 1.0
"""How long a call waits: the servo loop obeys within one period, and a disk should be as quick."""
POLL_S: Final = 0.005
MAX_WAITING: Final = 64
"""Commands of a kind that may wait: people send them, not loops. Of so many stops, one is enough."""
RECENT_S: Final = 1.0
"""An input that said stop so recently still holds: of several publishers one may say stop, another not."""
MISSED: Final = f"not obeyed within {OBEY_TIMEOUT_S:g} s"
NOT_ON_DISK: Final = "; its disk has not recorded that, so that a restart would not know of it"

Verdict = tuple[bool, str]
"""Whether a command was carried out, and a message."""
_Queue = deque[tuple[EstopCommand, Future[Verdict]]]


class EstopInterface:
    """One per safety process. `carry_out` is for the servo thread, all else for any thread."""

    def __init__(self, latch: EstopLatch, tokens: OperatorTokens | None = None) -> None:
        self.latch, self._tokens = latch, tokens or OperatorTokens(None)
        self._stops, self._others = _Queue(), _Queue()
        self._inputs: dict[str, tuple[bool, float]] = {}
        """By name: the last level, and when it was true last (steady clock)."""
        self._checks = threading.BoundedSemaphore(MAX_WAITING)

    def submit(self, command: EstopCommand) -> Future[Verdict]:
        """Hand a command to the servo thread, a reset after its token was checked; never waits."""
        verdict = Future[Verdict]()
        if not isinstance(command, ResetCommand) or not self._tokens.needs_token:
            self._check(command, verdict)
        elif self._checks.acquire(blocking=False):  # the disk with the file of tokens may hang
            threading.Thread(target=self._check, args=(command, verdict, True), name="token", daemon=True).start()
        else:
            verdict.set_result((False, MISSED))
        return verdict

    def _check(self, command: EstopCommand, verdict: Future[Verdict], releases: bool = False) -> None:
        refusal = self._tokens.refusal(command.who, command.token) if isinstance(command, ResetCommand) else ""
        if releases:
            self._checks.release()
        queue = self._stops if isinstance(command, StopCommand) else self._others
        if not refusal and len(queue) < MAX_WAITING:
            queue.append((command, verdict))
        else:
            with contextlib.suppress(InvalidStateError):  # given up meanwhile
                verdict.set_result((False, refusal or MISSED))

    def carry_out(self, apply: Callable[[EstopCommand], Verdict], *, only_stops: bool = False) -> None:
        """Apply what waits, stops last: one that came together with a reset wins."""
        for queue in (self._stops,) if only_stops else (self._others, self._stops):
            for _ in range(len(queue)):
                command, verdict = queue.popleft()
                if verdict.set_running_or_notify_cancel():
                    verdict.set_result(apply(command))

    def set_input(self, name: str, is_true: bool) -> None:
        """Take the level of a stop input: its rising edge stops; while it is true no reset is taken."""
        now_s = time.monotonic()
        was = self._is_held(name, now_s)
        self._inputs[name] = (is_true, now_s if is_true else self._inputs.get(name, (False, -RECENT_S))[1])
        if is_true and not was:
            self.submit(StopCommand(who=name, why="the input says stop"))

    def _is_held(self, name: str, now_s: float) -> bool:
        is_true, last_s = self._inputs.get(name, (False, -RECENT_S))
        return is_true or now_s - last_s < RECENT_S

    def held(self) -> str:
        """A stop input that says stop at present; empty for none."""
        now_s = time.monotonic()
        return next((name for name in self._inputs if self._is_held(name, now_s)), "")

    def state(self) -> EstopState:
        """The latch as it is."""
        return self.latch.state(hardware_stop=bool(self.held()))

    def answer(self, command: EstopCommand, verdict: Future[Verdict]) -> EstopAnswer:
        """What became of a command, once it is decided or its time is up: then a reset is void, a stop is not."""
        done, message = False, MISSED
        if not isinstance(command, StopCommand):
            verdict.cancel()
        if verdict.done() and not verdict.cancelled():
            done, message = verdict.result()
        if done and not self.latch.is_saved:
            done, message = not isinstance(command, StopCommand), message + NOT_ON_DISK
        return EstopAnswer(success=done, message=message, state=self.state())

    def call(self, command: EstopCommand) -> EstopAnswer:
        """Carry out a command and wait for the disk, for at most `OBEY_TIMEOUT_S`."""
        verdict, deadline_s = self.submit(command), time.monotonic() + OBEY_TIMEOUT_S
        while not (verdict.done() and self.latch.is_saved) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        return self.answer(command, verdict)
