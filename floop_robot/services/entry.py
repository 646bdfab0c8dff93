"""The entry point of every floop process: errors are one line, and the process ends when its supervisor does.

`python -m floop_robot.services.entry NAME [args]` runs `main(args)` of `floop_robot.services.NAME`.
"""

from __future__ import annotations

import importlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial

from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.errors import FloopError

SUPERVISOR_PIPE = "FLOOP_LIFELINE_FD"
"""Environment variable with the reading end of a pipe. End-of-file means that the supervisor is gone."""
SUPERVISOR_PID = "FLOOP_SUPERVISOR_PID"
"""Environment variable with the process id of a supervisor that can't hand on a pipe, as `ros2 launch`."""

USER_ERROR = 2
"""Exit status of a process that cannot work as configured. The supervisor does not start it again."""


def exit_with_supervisor() -> None:
    """From now on, send SIGTERM to this process when its supervisor is gone; does nothing without a supervisor."""
    lifeline, pid = os.environ.pop(SUPERVISOR_PIPE, None), os.environ.pop(SUPERVISOR_PID, None)
    wait: Callable[[], bool] | None = None
    if lifeline is not None:
        wait = partial(_wait_for_pipe, int(lifeline))
    elif pid is not None and sys.platform == "linux":
        wait = partial(_wait_for_process, int(pid))
    if wait is not None:
        OwnedThread(partial(_exit_after, wait), "lifeline", threading.Event()).start()


def _exit_after(wait: Callable[[], bool]) -> None:
    if wait():
        os.kill(os.getpid(), signal.SIGTERM)


def _wait_for_pipe(descriptor: int) -> bool:
    """Wait until nobody holds the writing end; returns whether that is known."""
    try:
        os.read(descriptor, 1)
    except OSError:
        return False
    return True


def _wait_for_process(pid: int) -> bool:
    """Wait until the process is gone, whoever is its parent: between it and us may be a shell or a debugger."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:  # a kernel older than 5.3
        return False
    try:
        select.select([process], [], [])
    finally:
        os.close(process)
    return True


def run(argv: list[str]) -> int:
    """Run the process named by `argv[0]` and return its exit status: 2 after an error that the user can correct."""
    exit_with_supervisor()
    name, *arguments = argv
    try:
        module = importlib.import_module(f"floop_robot.services.{name}")
        return int(module.main(arguments) or 0)
    except FloopError as error:
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return USER_ERROR
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
