"""WorkerProcess: the pool's side of one worker process (`worker.py` is the other)."""

from __future__ import annotations

import collections
import contextlib
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import Future
from multiprocessing.connection import Connection

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.durable.framing import pack
from floop_robot.gate import worker
from floop_robot.gate.interfaces import MAX_LOADED_POLICIES

JOB_LIMIT_S = 30.0
"""A worker that is silent for longer is killed and replaced. An episode takes a tenth of a second."""
START_LIMIT_S = 120.0
"""Loading the simulator takes a second, on a loaded machine much longer."""


class QueuedJob:
    """A job, its future, and how many workers it has killed."""

    def __init__(self, job: EpisodeJob) -> None:
        self.job = job
        self.future: Future[EpisodeOutcome] = Future()
        self.attempts = 0


class WorkerProcess:
    """A child process, its socket, and the job it runs."""

    def __init__(self, setup: worker.Setup) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", worker.__name__, str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        self.connection = Connection(ours.detach())
        self.ready = self.is_stopped = False
        self.queued: QueuedJob | None = None
        self.deadline_s = time.monotonic() + START_LIMIT_S
        self._known: collections.OrderedDict[str, None] = collections.OrderedDict()
        self.send(setup)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: worker.ToWorker) -> None:
        """Send a message; a worker that just died is noticed where its socket is read."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(pack(message))

    def start(self, queued: QueuedJob, bundle: bytes) -> None:
        """Begin a job; the bundle of its policy goes first, unless the worker has it."""
        policy = queued.job.policy
        if policy not in self._known:
            self.send(worker.Load(policy, bundle))
            self._known[policy] = None
            if len(self._known) > MAX_LOADED_POLICIES:
                self.send(worker.Forget(self._known.popitem(last=False)[0]))
        self._known.move_to_end(policy)
        self.queued = queued
        self.deadline_s = time.monotonic() + JOB_LIMIT_S
        self.send(worker.Run(queued.job))

    def stop(self) -> None:
        """Kill the process: it holds nothing worth saving."""
        self.is_stopped, self.queued = True, None
        self.connection.close()
        self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
