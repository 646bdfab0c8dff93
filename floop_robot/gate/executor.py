"""Executors on this machine: in this process, or a pool of warm processes that outlives the death of any of them."""

from __future__ import annotations

import collections
import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from multiprocessing.connection import Connection, wait

import msgspec

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.durable.framing import pack
from floop_robot.gate import worker
from floop_robot.gate.interfaces import MAX_LOADED_POLICIES, EpisodeFailed, EpisodeRunner

PYBULLET = "floop_robot.gate.pybullet_worker:PyBulletRunner"
"""The runner of real trials."""
ATTEMPTS = 3
"""A job that takes this many workers down with it is given up."""
JOB_LIMIT_S = 30.0
"""A worker that is silent for longer hangs: it is killed and replaced. An episode takes a tenth of a second."""
START_LIMIT_S = 120.0
"""Loading the simulator takes a second; a loaded machine may need much longer."""


class InProcessExecutor:
    """Runs each job at once in the caller's thread, for one-process use (`floop train`, `floop validate`)."""

    width = 1

    def __init__(self, runner: EpisodeRunner) -> None:
        self._runner = runner
        self._known: collections.OrderedDict[str, None] = collections.OrderedDict()

    def add_policy(self, policy: str, bundle: bytes) -> None:
        """Make a policy known; raises `BundleRefused`."""
        if policy not in self._known:
            self._runner.load(policy, bundle)
            self._known[policy] = None
            if len(self._known) > MAX_LOADED_POLICIES:
                self._runner.forget(self._known.popitem(last=False)[0])
        self._known.move_to_end(policy)

    def submit(self, jobs: Sequence[EpisodeJob]) -> list[Future[EpisodeOutcome]]:
        """Run the jobs now; the futures are done."""
        futures: list[Future[EpisodeOutcome]] = []
        for job in jobs:
            future: Future[EpisodeOutcome] = Future()
            try:
                future.set_result(self._runner.run(job))
            except Exception as error:
                failed = EpisodeFailed(f"{type(error).__name__}: {error}")
                failed.__cause__ = error
                future.set_exception(failed)
            futures.append(future)
        return futures

    def close(self) -> None:
        """Let go of the simulator."""
        self._runner.close()


class _Task:
    """A job on its way."""

    def __init__(self, job: EpisodeJob) -> None:
        self.job = job
        self.future: Future[EpisodeOutcome] = Future()
        self.attempts = 0


class _Worker:
    """A child process, its socket, and what it is doing."""

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
        self.ready = False
        self.task: _Task | None = None
        self.deadline_s = time.monotonic() + START_LIMIT_S
        self._known: collections.OrderedDict[str, None] = collections.OrderedDict()
        self.send(setup)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: worker.ToWorker) -> None:
        # A worker that just died is noticed where its socket is read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(pack(message))

    def start(self, task: _Task, bundle: bytes) -> None:
        policy = task.job.policy
        if policy not in self._known:
            self.send(worker.Load(policy, bundle))
            self._known[policy] = None
            if len(self._known) > MAX_LOADED_POLICIES:
                self.send(worker.Forget(self._known.popitem(last=False)[0]))
        self._known.move_to_end(policy)
        self.task = task
        self.deadline_s = time.monotonic() + JOB_LIMIT_S
        self.send(worker.Run(task.job))

    def stop(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    paths = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class ProcessPool:
    """Warm worker processes behind one thread; a worker that dies or hangs is replaced and its job run again."""

    def __init__(self, *, workers: int, task: str, robot: str, nice: int = 0, runner: str = PYBULLET) -> None:
        self.width = workers
        self.replaced = 0
        """How many workers died or hung."""
        self.finished = 0
        """How many episodes were run to their end."""
        self._setup = worker.Setup(runner, task, robot, nice)
        self._decoder = msgspec.msgpack.Decoder(worker.FromWorker)
        self._lock = threading.Lock()
        # Bounded by the callers: a trial keeps `width` pairs under way, an evaluation its own number of scenarios.
        self._queue: collections.deque[_Task] = collections.deque()
        self._policies: collections.OrderedDict[str, bytes] = collections.OrderedDict()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._closing = False
        self._warm = threading.Event()
        self._workers = [_Worker(self._setup) for _ in range(workers)]
        self._thread = threading.Thread(target=self._serve, name="gate-pool", daemon=True)
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
        tasks = [_Task(job) for job in jobs]
        with self._lock:
            unknown = {t.job.policy for t in tasks} - set(self._policies)
            if unknown or self._closing:
                raise EpisodeFailed(f"the pool is closed or does not know policies {sorted(unknown)}; add them first")
            self._queue.extend(tasks)
        self._wake()
        return [t.future for t in tasks]

    def close(self) -> None:
        """Kill the workers (they hold nothing worth saving) and join the thread."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        self._wake()
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def _serve(self) -> None:
        while not self._closing:
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
        self._abandon()

    def _dispatch(self) -> None:
        for each in self._workers:
            while each.ready and each.task is None:
                with self._lock:
                    task = self._queue.popleft() if self._queue else None
                    bundle = self._policies.get(task.job.policy) if task else None
                if task is None:
                    return
                if task.attempts == 0 and not task.future.set_running_or_notify_cancel():
                    continue
                if bundle is None:
                    task.future.set_exception(EpisodeFailed(f"policy {task.job.policy} is no longer known"))
                    continue
                each.start(task, bundle)

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
        elif each.task is not None:
            task, each.task = each.task, None
            if isinstance(message, worker.JobDone):
                self.finished += 1
                task.future.set_result(message.outcome)
            else:
                task.future.set_exception(EpisodeFailed(message.message))
        each.deadline_s = float("inf")

    def _replace(self, index: int) -> None:
        task = self._workers[index].task
        started = self._workers[index].ready
        self._workers[index].stop()
        self.replaced += 1
        if not started:
            time.sleep(0.5)  # a simulator that cannot load must not become a fork storm
        self._workers[index] = _Worker(self._setup)
        if task is None:
            return
        task.attempts += 1
        if task.attempts >= ATTEMPTS:
            where = f"{task.job.scenario.object.object_class}, seed {task.job.scenario.seed}"
            task.future.set_exception(EpisodeFailed(f"{ATTEMPTS} workers died in the episode ({where})"))
            return
        with self._lock:
            self._queue.appendleft(task)

    def _abandon(self) -> None:
        for each in self._workers:
            each.stop()
        with self._lock:
            rest = [w.task for w in self._workers if w.task] + list(self._queue)
            self._queue.clear()
        for task in rest:
            if not task.future.cancel():
                task.future.set_exception(EpisodeFailed("the pool was closed"))
