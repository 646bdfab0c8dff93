"""CollectorProcess: one process that answers requests over a pipe, and whose errors arrive as they were raised."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from floop_robot.spec.errors import EnvironmentFailed, FloopError
from floop_robot.train.environments.error_place import EnvironmentInterrupted, error_line

STOP_S = 3.0
"""A process that does not end by itself in this time is ended."""


class CollectorFailed(EnvironmentFailed):
    """The process that makes episodes ended."""


class CollectorProcess:
    """Calls `make(*arguments)` in a new process, and what that returns for each request."""

    def __init__(self, make: Callable[..., Any], arguments: tuple[object, ...], name: str, simulates: str) -> None:
        """`simulates`: what messages call the environment."""
        self._simulates = simulates
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(make, arguments, theirs), name=name, daemon=True)
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def send(self, request: object) -> None:
        """Ask; raises `CollectorFailed` when nobody is there."""
        try:
            self._connection.send(request)
        except (BrokenPipeError, ConnectionResetError):
            raise self._ended() from None

    def receive(self) -> Any:
        """The answer; waits for it. Raises the `FloopError` that the process raised, or `CollectorFailed`."""
        try:
            is_answer, reply = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._ended() from None
        if is_answer:
            return reply
        raise _error(*reply)

    def _ended(self) -> FloopError:
        with contextlib.suppress(EOFError, ConnectionResetError, OSError):
            if self._connection.poll():  # it told why before it ended
                return _error(*self._connection.recv()[1])
        self._process.join(STOP_S)
        code = self._process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"status {code}"
        return CollectorFailed(f"the process of {self._simulates} ended ({how}); its last output may tell why")

    def hang_up(self) -> None:
        """Let it end."""
        self._connection.close()

    def join(self) -> None:
        """Wait until it has ended, or end it."""
        self._process.join(STOP_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _error(kind: type[FloopError], text: str) -> FloopError:
    error = kind.__new__(kind, text)  # without its constructor, which may take other arguments
    error.args = (text,)
    return error


def _main(make: Callable[..., Any], arguments: tuple[object, ...], connection: Connection) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # they go to the whole group; the parent closes the pipe
        signal.signal(number, signal.SIG_IGN)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what an environment prints is no result
    multiprocessing.current_process().daemon = False  # an environment may start processes of its own
    try:
        answer = make(*arguments)
        while True:
            connection.send((True, answer(connection.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except FloopError as error:
        _send_error(connection, type(error), str(error))
    except EnvironmentInterrupted as error:
        _send_error(connection, CollectorFailed, str(error))
    except KeyboardInterrupt as error:  # the signal is ignored, so no user raised it
        _send_error(connection, CollectorFailed, f"the process that simulates raised {error_line(error)}")
    except Exception as error:
        traceback.print_exc()
        _send_error(connection, CollectorFailed, f"the process that simulates failed: {type(error).__name__}: {error}")


def _send_error(connection: Connection, kind: type[FloopError], text: str) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone
        connection.send((False, (kind, text)))
