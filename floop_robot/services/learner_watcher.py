"""The learner from outside: start and restart its process, ask for its status, report a silent one as down."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.services.learner_client import LearnerClient
from floop_robot.services.supervision.ports import wait_until_free
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import ConfigError, FloopError

POLL_PERIOD_S: Final = 1.0
ANSWER_S: Final = 2.0
"""A learner that is silent this long is down: it serves its port between two steps, which take 50 ms at most."""
PORT_FREE_S: Final = 10.0
"""A learner whose supervisor was killed writes a checkpoint before it ends."""
LEARNER: Final = "learner"


def supervise_learner(config: FloopConfig, config_file: str, stop: threading.Event) -> Supervisor:
    """A supervisor that starts the learner and restarts it; it waits until a learner of a killed one has ended.

    The learner gets the configured niceness, whatever this process has. Raises `ConfigError` when its port stays taken.
    """
    endpoint = config.endpoints.learner
    if not wait_until_free(endpoint, PORT_FREE_S, stop):
        raise ConfigError(
            f"the learner's port {endpoint} is taken; stop the learner that runs there, or set the parameter supervise "
            "to false"
        )
    arguments = ("--config", config_file) if config_file else ()
    nice = max(0, config.learner.nice - os.nice(0))
    return Supervisor(
        [ProcessSpec(name=LEARNER, module="learner", arguments=arguments, nice=nice)], Path(config.run_dir)
    )


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
        self._thread = OwnedThread(self._run, "learner-watcher", self._stop)

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
