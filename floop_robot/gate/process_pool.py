"""ProcessPool: warm worker processes that run the gate's episodes."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from multiprocessing.connection import wait

import msgspec

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.gate import worker
from floop_robot.gate.interfaces import MAX_LOADED_POLICIES, EpisodeFailed
from floop_robot.gate.worker_process import START_LIMIT_S, QueuedJob, WorkerProcess

PYBULLET = "floop_robot.gate.pybullet_worker:PyBulletRunner"
"""The runner of the gate: real PyBullet episodes."""
ATTEMPTS = 3
"""A job that kills this many workers is given up."""


class ProcessPool:
    """Warm worker processes, served by one thread. A worker that dies or hangs is replaced and its job run again."""

    def __init__(self, *, workers: int, task: str, robot: str, nice: int = 0, runner: str = PYBULLET) -> None:
        self.width = workers
        self.replaced = 0
        """Workers that died or hung."""
        self.finished = 0
        """Episodes that were run to their end."""
        self._setup = worker.Setup(runner, task, robot, nice)
        self._decoder = msgspec.msgpack.Decoder(worker.FromWorker)
        self._lock = threading.Lock()
        # Bounded by the callers: a trial keeps `width` pairs under way, an evaluation its number of scenarios.
        self._queue: collections.deque[QueuedJob] = collections.deque()
        self._policies: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._closing = threading.Event()
        self._warm = threading.Event()
        self._workers = [WorkerProcess(self._setup) for _ in range(workers)]
        self._thread = OwnedThread(self._serve, "gate-pool", self._closing)
        self._thread.start()

    def wait_warm(self, timeout_s: float = START_LIMIT_S) -> bool:
        """Wait until every worker has loaded its simulator; whether that happened in time."""
        return self._warm.wait(timeout_s)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers."""
        return tuple(w.pid for w in self._workers)

    def add_policy(self, policy: str, bundle: bytes) -> None:
        """Make a policy known; it is sent to each worker before its first job. A bad one fails its jobs."""
        with self._lock:
            self._policies[policy] = bundle
            self._policies.move_to_end(policy)
            while len(self._policies) > MAX_LOADED_POLICIES:
                self._policies.popitem(last=False)

    def submit(self, jobs: Sequence[EpisodeJob]) -> list[Future[EpisodeOutcome]]:
        """Queue jobs; raises `EpisodeFailed` when a policy is not known or the pool is closed."""
        queued = [QueuedJob(job) for job in jobs]
        with self._lock:
            unknown = {each.job.policy for each in queued} - set(self._policies)
            if unknown or self._closing.is_set():
                raise EpisodeFailed(f"the pool is closed or does not know policies {sorted(unknown)}; add them first")
            self._queue.extend(queued)
        self._wake()
        return [each.future for each in queued]

    def close(self) -> None:
        """Kill the workers, which hold nothing worth saving, and join the thread."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
        self._wake()
        self._thread.join()
        self._abandon()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def _serve(self) -> None:
        while not self._closing.is_set():
            for index, each in enumerate(self._workers):
                if each.is_stopped:  # its replacement could not be started
                    self._workers[index] = WorkerProcess(self._setup)
            self._dispatch()
            nearest = min(w.deadline_s for w in self._workers)
            connections = [w.connection for w in self._workers]
            ready = wait([*connections, self._wake_read], max(0.0, min(nearest - time.monotonic(), 60.0)))
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            for index, each in enumerate(self._workers):
                if each.connection in ready:
                    self._read(index)
                elif time.monotonic() > each.deadline_s:
                    self._replace(index)

    def _dispatch(self) -> None:
        for each in self._workers:
            while each.ready and each.queued is None:
                with self._lock:
                    queued = self._queue.popleft() if self._queue else None
                    bundle = self._policies.get(queued.job.policy) if queued else None
                if queued is None:
                    return
                if queued.attempts == 0 and not queued.future.set_running_or_notify_cancel():
                    continue
                if bundle is None:
                    queued.future.set_exception(EpisodeFailed(f"policy {queued.job.policy} is no longer known"))
                    continue
                each.start(queued, bundle)

    def _read(self, index: int) -> None:
        each = self._workers[index]
        try:
            message = self._decoder.decode(each.connection.recv_bytes())
        except (EOFError, OSError, msgspec.DecodeError):
            self._replace(index)
            return
        if isinstance(message, worker.Ready):
            each.ready = True
            if all(w.ready for w in self._workers):
                self._warm.set()
        elif each.queued is not None:
            queued, each.queued = each.queued, None
            if isinstance(message, worker.JobDone):
                self.finished += 1
                queued.future.set_result(message.outcome)
            else:
                queued.future.set_exception(EpisodeFailed(message.message))
        each.deadline_s = float("inf")

    def _replace(self, index: int) -> None:
        queued = self._workers[index].queued
        started = self._workers[index].ready
        self._workers[index].stop()
        self.replaced += 1
        if not started:
            time.sleep(0.5)  # a simulator that can't load must not start processes without end
        if queued is not None:
            self._run_again(queued)
        self._workers[index] = WorkerProcess(self._setup)

    def _run_again(self, queued: QueuedJob) -> None:
        queued.attempts += 1
        if queued.attempts >= ATTEMPTS:
            where = f"{queued.job.scenario.object.object_class}, seed {queued.job.scenario.seed}"
            queued.future.set_exception(EpisodeFailed(f"{ATTEMPTS} workers died in the episode ({where})"))
            return
        with self._lock:
            self._queue.appendleft(queued)

    def _abandon(self) -> None:
        with self._lock:
            rest = [w.queued for w in self._workers if w.queued] + list(self._queue)
            self._queue.clear()
        for each in self._workers:
            each.stop()
        for queued in rest:
            if not queued.future.cancel():
                queued.future.set_exception(EpisodeFailed("the pool was closed"))
