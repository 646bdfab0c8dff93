"""EstopInterface: how other threads stop, reset and start an arm whose servo loop runs. The servo thread decides."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from floop_robot.robot.estop_latch import EstopLatch, Verdict
from floop_robot.robot.messages import EstopAnswer, EstopCommand, ResetCommand, StopCommand
from floop_robot.robot.operators import OperatorTokens
from floop_robot.spec.estop import EstopState, StopInputs

OBEY_TIMEOUT_S: Final = 1.0
"""How long a call waits: the servo loop obeys within one period, and a disk should be as quick."""
POLL_S: Final = 0.005
MAX_WAITING: Final = 64
"""Commands of a kind that may wait: people send them, not loops. Of so many stops, one is enough."""
MISSED: Final = f"not obeyed within {OBEY_TIMEOUT_S:g} s"
NOT_ON_DISK: Final = "; its disk has not recorded that, so that a restart would not know of it"

_Waiting = deque[tuple[EstopCommand, Future[Verdict]]]


class EstopInterface:
    """One per safety process. `carry_out` is for the servo thread, all else for any thread."""

    def __init__(self, latch: EstopLatch, tokens: OperatorTokens | None = None) -> None:
        self.latch, self._tokens = latch, tokens or OperatorTokens(None)
        self._stops, self._others = _Waiting(), _Waiting()
        self.inputs = StopInputs(lambda who, why: self.submit(StopCommand(who=who, why=why)))

    def submit(self, command: EstopCommand) -> Future[Verdict]:
        """Hand a command to the servo thread; never waits. Whoever submits a reset has checked its token."""
        verdict = Future[Verdict]()
        queue = self._stops if isinstance(command, StopCommand) else self._others
        if len(queue) < MAX_WAITING:
            queue.append((command, verdict))
        else:
            verdict.set_result((False, MISSED))
        return verdict

    def call(self, command: EstopCommand) -> EstopAnswer:
        """Carry out a command; waits for servo loop and disk, `OBEY_TIMEOUT_S` at most, and for the file of tokens.

        A reset or a start that was not taken by then is void, a stop is not.
        """
        is_stop, deadline_s = isinstance(command, StopCommand), time.monotonic() + OBEY_TIMEOUT_S
        refusal = self._tokens.refusal(command.who, command.token) if isinstance(command, ResetCommand) else ""
        if refusal:
            return EstopAnswer(success=False, message=refusal, state=self.state())
        verdict = self.submit(command)
        while not (verdict.done() and self.latch.file.is_saved) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
        is_void = not is_stop and verdict.cancel()
        done, message = verdict.result() if verdict.done() and not is_void else (False, MISSED)
        if done and not self.latch.file.is_saved:
            done, message = not is_stop, message + NOT_ON_DISK
        return EstopAnswer(success=done, message=message, state=self.state())

    def carry_out(self, apply: Callable[[EstopCommand], Verdict], *, only_stops: bool = False) -> None:
        """Apply what waits, stops last: one that came together with a reset wins."""
        for queue in (self._stops,) if only_stops else (self._others, self._stops):
            for _ in range(len(queue)):
                command, verdict = queue.popleft()
                if verdict.set_running_or_notify_cancel():
                    verdict.set_result(apply(command))

    def state(self) -> EstopState:
        """The latch as it is."""
        return self.latch.state(hardware_stop=bool(self.inputs.held()))
