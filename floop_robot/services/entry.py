"""The entry point of every floop process: errors are one line, and the process ends when its supervisor does.

`python -m floop_robot.services.entry NAME [args]` runs `main(args)` of `floop_robot.services.NAME`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading

from floop_robot.spec.errors import FloopError

SUPERVISOR_PIPE = "FLOOP_LIFELINE_FD"
"""Environment variable with the reading end of a pipe. End-of-file means that the supervisor is gone."""

USER_ERROR = 2
"""Exit status of a process that cannot work as configured. The supervisor does not start it again."""


def exit_with_supervisor() -> None:
    """From now on, send SIGTERM to this process when its supervisor is gone; does nothing without a supervisor."""
    lifeline = os.environ.pop(SUPERVISOR_PIPE, None)
    if lifeline is not None:
        threading.Thread(target=_wait_for_supervisor_exit, args=(int(lifeline),), name="lifeline", daemon=True).start()


def _wait_for_supervisor_exit(descriptor: int) -> None:
    try:
        os.read(descriptor, 1)
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGTERM)


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
