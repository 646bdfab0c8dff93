"""LearnerWatcher: asks the learner for its status once a second, and reports it as down when it does not answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.services.learner_client import LearnerClient
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError

POLL_PERIOD_S: Final = 1.0
ANSWER_S: Final = 2.0
"""A learner that is silent this long is down: it serves its port between two steps, which take 50 ms at most."""


class LearnerWatcher:
    """Works in a thread of its own; a context manager."""

    def __init__(self, config: FloopConfig, grace_s: float, on_status: Callable[[LearnerStatus], None]) -> None:
        """For `grace_s` from now on, a learner that does not answer yet is starting, not down."""
        self._config, self._grace_s, self._on_status = config, grace_s, on_status
        self._born_s = self._heard_s = time.monotonic()
        self._answered = False
        self.status = self._silent()
        """The last one reported."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="learner-watcher")

    def __enter__(self) -> LearnerWatcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()

    def stop(self) -> None:
        """Report nothing more; returns at once."""
        self._stop.set()

    def _run(self) -> None:
        with LearnerClient(self._config.endpoints.learner, ANSWER_S) as client:
            while not self._stop.wait(POLL_PERIOD_S):
                try:
                    status = client.status()
                    self._heard_s, self._answered = time.monotonic(), True
                except FloopError:
                    status = self._silent()
                if self._stop.is_set():
                    return
                self.status = status
                self._on_status(status)

    def _silent(self) -> LearnerStatus:
        now_s = time.monotonic()
        starting = not self._answered and now_s - self._born_s < self._grace_s
        return LearnerStatus(
            state=LearnerState.STARTING if starting else LearnerState.DOWN,
            algo=self._config.learner.algo,
            task=self._config.task,
            detail="" if starting else f"has not answered for {now_s - self._heard_s:.0f} s",
        )
