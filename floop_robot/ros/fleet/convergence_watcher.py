"""ConvergenceWatcher: one look at the fleet for everybody who waits for robots."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final

import msgspec

from floop_robot.deploy import FleetClient, RobotStatus
from floop_robot.deploy.client import LOOK_AGAIN_S
from floop_robot.deploy.convergence import Convergence, DesiredState
from floop_robot.spec.errors import FloopError

LOOK_TIMEOUT_S: Final = 0.5
END_S: Final = 1.0
"""How long its thread may take to end; it may be asking a fleet manager that is gone."""

log = logging.getLogger(__name__)


class ConvergenceWait(msgspec.Struct, frozen=True, eq=False):
    """Somebody who waits; `on_result` is called once, by the watch's thread, with how far the robots are by then."""

    aim: DesiredState
    first: Convergence
    deadline_s: float
    """By `time.monotonic`."""
    on_result: Callable[[Convergence], None]


class ConvergenceWatcher:
    """Looks at the robots in a thread of its own while anybody waits; a context manager.

    How many wait is bounded by whoever lets them.
    """

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`."""
        self._endpoint = endpoint
        self._changed = threading.Condition()
        self._waiting: tuple[ConvergenceWait, ...] = ()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="fleet-watch", daemon=True)

    def __enter__(self) -> ConvergenceWatcher:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close(time.monotonic() + END_S)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self, until_s: float) -> None:
        """Everybody is told how far the robots are; by then, by `time.monotonic`, nobody waits for that any longer."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(max(0.0, until_s - time.monotonic()))

    def add(self, wait: ConvergenceWait) -> None:
        """Tell somebody when the robots are there, or time is over; from any thread."""
        with self._changed:
            self._waiting = (*self._waiting, wait)
            self._changed.notify()

    def _run(self) -> None:
        with FleetClient(self._endpoint, timeout_s=LOOK_TIMEOUT_S) as client:
            while not self._is_over:
                self._look(client)
                with self._changed:
                    self._changed.wait_for(lambda: self._is_over, LOOK_AGAIN_S)
                    self._changed.wait_for(lambda: self._waiting or self._is_over)
            self._look(client)

    def _look(self, client: FleetClient) -> None:
        """Tell those whose wait is over."""
        is_over, waiting = self._is_over, self._waiting
        if not waiting:
            return
        robots: tuple[RobotStatus, ...] | None = None
        with contextlib.suppress(FloopError):  # the fleet manager is away; time runs on
            robots = client.robots().robots
        now_s, finished = time.monotonic(), []
        for wait in waiting:
            effect = wait.first if robots is None else wait.aim.evaluate(robots, wait.first)
            if is_over or now_s >= wait.deadline_s or not effect.pending:
                finished.append(wait)
                self._notify(wait, effect)
        with self._changed:
            self._waiting = tuple(wait for wait in self._waiting if wait not in finished)

    @staticmethod
    def _notify(wait: ConvergenceWait, effect: Convergence) -> None:
        try:
            wait.on_result(effect)
        except Exception:  # one who can't be told must not cost the others their answer
            log.error("an answer failed:\n%s", traceback.format_exc())
