"""Supervisor: starts the processes of a fleet, restarts those that die, and ends them all when it ends.

A process that dies is started again with back-off. Each process holds the reading end of a pipe.
It ends when the writing end closes, so a killed supervisor takes its processes with it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from floop_robot.durable.locks import ExclusiveLock, LockHeld, RunLock, is_locked
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.services.entry import SUPERVISOR_PIPE, USER_ERROR
from floop_robot.services.supervision.log_rotation import rotate_log
from floop_robot.services.supervision.priority import NiceResult, has_session_nice, set_session_nice
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.ros_domain import child_environment
from floop_robot.services.supervision.scheduler import NICE, LoopPhase, Scheduler
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.wall_clock import wall_clock_ns

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 5.0
HEALTHY_AFTER_S = 10.0
"""A process that ran this long is restarted without back-off."""
STABLE_AFTER_S = 60.0
"""A process that ran this long works as configured. On a busy machine some take 20 s to find out that they cannot."""
GRACE_S = 5.0
"""Time for a process to end by itself: twice what the slowest takes where cores are slow and busy.

Policy processes use 1 s of it to send their last records.
"""
SET_NICE_TIMEOUT_S = 10.0
"""The kernel accepts one session's nice value every 0.1 s, so a fleet needs some seconds."""
LOG_FORMAT = {"RCUTILS_CONSOLE_OUTPUT_FORMAT": "{date_time_with_ms} {severity} {message}"}
"""How ROS nodes write lines of their logs: with the date, as other processes do. Each has a file of its own."""
MAX_LOG_BYTES = 20e6
ROTATE_S = 2.0
"""How often it looks whether a log is too large."""
_POLL_S = 0.05
SCHEDULE_S = 0.5
"""How often it looks which process should go first; stats files are written as often."""


class Restart(msgspec.Struct, frozen=True):
    """A process died and was started again."""

    name: str
    exit_status: int
    stamp_ns: int
    down_s: float


class _Child:
    def __init__(self, spec: ProcessSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.born_s = 0.0
        self.died_s = 0.0
        self.due_s = 0.0
        self.backoff_s = FIRST_BACKOFF_S
        self.given_up = self.retired = False
        self.stable = False
        """It has worked as configured, so a later user error (such as a full disk) may pass."""
        self.exit_status = 0
        self.set_nice_until_s = 0.0
        """Deadline for giving its session the nice value; 0 when that is done."""
        self.scheduled_nice: int | None = None
        """Nice value that the scheduler gave its session; None before the first."""
        self._lock: ExclusiveLock | None = None

    def lock(self) -> None:
        """Say that it is supervised, by a lock beside its log; raises `ConfigError` when another supervisor does."""
        try:
            self._lock = ExclusiveLock(self.log.with_suffix(".lock"), self.spec.name, "stop that one first")
        except LockHeld as held:
            raise ConfigError(
                f"{self.spec.name} is running already (started by {held.holder}; its log: {self.log}); stop that "
                "first, or give this fleet a run_dir of its own"
            ) from None

    def release(self) -> None:
        """It is supervised no more; may be called again."""
        if self._lock is not None:
            self._lock.release()


def is_supervised(name: str, run_dir: Path) -> bool:
    """Whether a supervisor on this machine already runs this process of the fleet."""
    return is_locked(_log_of(name, run_dir).with_suffix(".lock"))


def _log_of(name: str, run_dir: Path) -> Path:
    return run_dir / "logs" / f"{name}.log"


class Supervisor:
    """Starts processes, restarts those that die, and stops them all; use as a context manager."""

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        run_dir: Path,
        environment: Mapping[str, str] | None = None,
        log_bytes: float = MAX_LOG_BYTES,
    ) -> None:
        """Prepare the run directory; raises `StorageError`. `environment` is added to this process's own.

        `log_bytes`: largest size of the log of each process.
        """
        self._environment, self._log_bytes, self._rotate_due_s = dict(environment or {}), log_bytes, 0.0
        self._logs = run_dir / "logs"
        self._run_lock = RunLock(run_dir)
        self._logs.mkdir(parents=True, exist_ok=True)
        self._children = {s.name: _Child(s, _log_of(s.name, run_dir)) for s in specs}
        self._reader, self._writer = os.pipe()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._restarts: list[Restart] = []
        self._warned_no_nice = False
        explorers = [name for name, child in self._children.items() if child.spec.part == "explorer"]
        self._scheduler, self._phase, self._schedule_due_s = Scheduler(run_dir, explorers), LoopPhase.CALM, 0.0
        self._thread = OwnedThread(self._watch, "supervisor", self._stop)

    def __enter__(self) -> Supervisor:
        """Start all processes. Raises `ConfigError`, before it starts any, when another supervisor runs one of them."""
        try:
            for child in self._children.values():
                child.lock()
        except BaseException:
            self.stop()
            raise
        for child in self._children.values():
            self._start(child)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def restarts(self) -> tuple[Restart, ...]:
        """Every restart so far."""
        with self._lock:
            return tuple(self._restarts)

    @property
    def given_up(self) -> dict[str, str]:
        """Processes that cannot work as configured and are not started again, each with the last line it wrote."""
        return {name: self._last_line(child) for name, child in self._children.items() if child.given_up}

    def pid(self, name: str) -> int | None:
        """Process id of the process called `name`; None while it is down."""
        process = self._children[name].process
        return process.pid if process and process.poll() is None else None

    def log(self, name: str) -> Path:
        """File with the output of the process called `name`."""
        return self._children[name].log

    def retire(self, names: Iterable[str], grace_s: float = GRACE_S) -> None:
        """End these processes and do not restart them: SIGINT, then SIGKILL for those that run after `grace_s`."""
        chosen = [self._children[name] for name in names]
        for child in chosen:
            child.retired = True
        running = [c.process for c in chosen if c.process and c.process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + grace_s
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End every process and the supervisor itself."""
        if self._writer < 0:
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.retire(self._children, grace_s)
        os.close(self._writer)
        os.close(self._reader)
        for child in self._children.values():
            child.release()
        self._run_lock.release()
        self._writer = -1

    def _start(self, child: _Child) -> None:
        given = child_environment(os.environ | self._environment)
        own = {SUPERVISOR_PIPE: str(self._reader), "PYTHONUNBUFFERED": "1"}
        environment = LOG_FORMAT | given | child.spec.environment(given) | own
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                child.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(self._reader,),
                start_new_session=True,  # so that Ctrl-C reaches the supervisor only, which stops all in order
            )
        child.born_s, child.scheduled_nice = time.monotonic(), None
        child.set_nice_until_s = child.born_s + SET_NICE_TIMEOUT_S if _nice(child) else 0.0

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            now = time.monotonic()
            for child in self._children.values():
                self._check_child(child, now)
            if now >= self._schedule_due_s:
                self._schedule_due_s = now + SCHEDULE_S
                self._schedule()
            if now >= self._rotate_due_s:
                self._rotate_due_s = now + ROTATE_S
                for child in self._children.values():
                    rotate_log(child.log, self._log_bytes)

    def _schedule(self) -> None:
        """Give each central process the nice value of the present phase."""
        phase = self._scheduler.phase()
        if phase is not self._phase:
            log.info("processor time: %s", phase)
            self._phase = phase
        for child in self._children.values():
            if child.set_nice_until_s or (child.scheduled_nice is None and child.spec.part not in NICE[phase]):
                continue
            wanted = os.nice(0) + NICE[phase].get(child.spec.part, child.spec.nice)
            pid = self.pid(child.spec.name)
            # What the kernel does not accept now is tried again at the next look.
            if (
                pid is not None
                and wanted != child.scheduled_nice
                and set_session_nice(pid, min(wanted, 19)) is NiceResult.APPLIED
            ):
                child.scheduled_nice = wanted

    def _check_child(self, child: _Child, now: float) -> None:
        if child.given_up or child.retired:
            return
        if child.process is not None:
            status = child.process.poll()
            if status is None:
                self._set_nice(child, child.process.pid, now)
                return
            child.process, child.died_s, child.exit_status = None, now, status
            healthy = now - child.born_s > HEALTHY_AFTER_S
            child.stable |= now - child.born_s > STABLE_AFTER_S
            if status == USER_ERROR and not child.stable:
                child.given_up = True
                return
            child.backoff_s = FIRST_BACKOFF_S if healthy else min(LONGEST_BACKOFF_S, child.backoff_s * 2)
            child.due_s = now + (0.0 if healthy else child.backoff_s)
        if now >= child.due_s:
            try:
                self._start(child)
            except OSError as error:  # too little memory, processes or disk: that may pass
                log.warning("cannot start %s: %s; next try in %.0f s", child.spec.name, error, LONGEST_BACKOFF_S)
                child.due_s = now + LONGEST_BACKOFF_S
                return
            with self._lock:
                self._restarts.append(Restart(child.spec.name, child.exit_status, wall_clock_ns(), now - child.died_s))

    def _set_nice(self, child: _Child, pid: int, now: float) -> None:
        """Give its session the nice value, now or at one of the next looks; never waits."""
        if not child.set_nice_until_s:
            return
        result = NiceResult.APPLIED if has_session_nice(pid) else set_session_nice(pid, _nice(child))
        if result is NiceResult.RETRY and now < child.set_nice_until_s:
            return
        child.set_nice_until_s = 0.0
        if result in (NiceResult.RETRY, NiceResult.REFUSED) and not self._warned_no_nice:
            self._warned_no_nice = True
            log.warning("Linux does not accept nice %d for the session of %s", _nice(child), child.spec.name)

    @staticmethod
    def _last_line(child: _Child) -> str:
        lines = child.log.read_text(errors="replace").strip().splitlines() or [f"exit status {child.exit_status}"]
        return lines[-1].removeprefix(f"{child.spec.module.rpartition('.')[2]}: ")  # callers name the process


def _nice(child: _Child) -> int:
    """The nice value of its process: added to this one's."""
    return os.nice(0) + child.spec.nice
