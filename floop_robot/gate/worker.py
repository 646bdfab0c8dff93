"""One worker process of the pool: reads jobs from its socket, runs them, ends when the socket closes.

`python -m floop_robot.gate.worker FD`: started by `process_pool.ProcessPool`, never by hand. Messages are msgpack of
the structs below; nothing is pickled.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from multiprocessing.connection import Connection

import msgspec

from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.durable.framing import pack
from floop_robot.gate.interfaces import EpisodeRunner


class Setup(msgspec.Struct, frozen=True, tag=True):
    """First message: what to run, and at which niceness."""

    runner: str
    """`module:function`; called with `task` and `robot` it returns an `EpisodeRunner`."""
    task: str
    robot: str
    nice: int


class Load(msgspec.Struct, frozen=True, tag=True):
    """Take in a policy."""

    policy: str
    bundle: bytes


class Forget(msgspec.Struct, frozen=True, tag=True):
    """Drop a policy."""

    policy: str


class Run(msgspec.Struct, frozen=True, tag=True):
    """Run one episode."""

    job: EpisodeJob


class JobDone(msgspec.Struct, frozen=True, tag=True):
    """The outcome of the last `Run`."""

    outcome: EpisodeOutcome


class JobRefused(msgspec.Struct, frozen=True, tag=True):
    """The last `Run` can't be done by any worker: what is wrong with it."""

    message: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The simulator is loaded."""


ToWorker = Setup | Load | Forget | Run
FromWorker = JobDone | JobRefused | Ready


def make_runner(path: str, task: str, robot: str) -> EpisodeRunner:
    """Call `module:function` with task and robot names."""
    module, _, name = path.partition(":")
    runner: EpisodeRunner = getattr(importlib.import_module(module), name)(task, robot)
    return runner


class _Service:
    """Answers one message after the other."""

    def __init__(self, runner: EpisodeRunner) -> None:
        self._runner = runner
        self._bad: dict[str, str] = {}

    def answer(self, message: ToWorker) -> FromWorker | None:
        if isinstance(message, Run):
            return self._run(message.job)
        if isinstance(message, Load):
            try:
                self._runner.load(message.policy, message.bundle)
            except Exception as error:
                self._bad[message.policy] = f"{type(error).__name__}: {error}"
        elif isinstance(message, Forget):
            self._bad.pop(message.policy, None)
            self._runner.forget(message.policy)
        return None

    def _run(self, job: EpisodeJob) -> JobDone | JobRefused:
        if job.policy in self._bad:
            return JobRefused(self._bad[job.policy])
        try:
            return JobDone(self._runner.run(job))
        except Exception as error:
            return JobRefused(f"{type(error).__name__}: {error}")


def main(argv: list[str]) -> int:
    """Serve until the parent closes the socket or dies."""
    # Ctrl-C reaches the whole process group, but the parent decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = Connection(int(argv[0]))
    decoder = msgspec.msgpack.Decoder(ToWorker)
    setup = decoder.decode(connection.recv_bytes())
    assert isinstance(setup, Setup)
    os.nice(max(0, setup.nice - os.nice(0)))  # the owner may be niced already
    runner = make_runner(setup.runner, setup.task, setup.robot)
    service = _Service(runner)
    try:
        connection.send_bytes(pack(Ready()))
        while True:
            reply = service.answer(decoder.decode(connection.recv_bytes()))
            if reply is not None:
                connection.send_bytes(pack(reply))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return 0
    finally:
        runner.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
