"""Stop, reset and start a robot on this host without ROS, through a Unix socket of its safety process.

The kernel keeps a stop that was sent to a frozen process, also when its sender has gone.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from floop_robot.durable.framing import pack
from floop_robot.durable.locks import LockHeld
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.robot.estop_interface import OBEY_TIMEOUT_S, EstopInterface
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.ipc import Link, link_folder, sole_server
from floop_robot.robot.messages import MAX_MESSAGE_BYTES, EstopAnswer, EstopCommand, StopCommand
from floop_robot.spec.errors import StorageError

MAX_CONNECTIONS: Final = 64
"""People connect, not loops."""
ANSWER_TIMEOUT_S: Final = OBEY_TIMEOUT_S + 1.0
RETRY_S: Final = 0.05
SOCKET: Final = "estop.ipc"
LATCH_FILE: Final = "stopped"
"""Its JSON says whether the robot is stopped."""
WILL_START_STOPPED: Final = "it does not run on this host, and will start stopped here"
"""Answer to a stop of a robot whose safety process does not run."""


class ReadEstop(msgspec.Struct, frozen=True, tag="read"):
    """Ask how the latch is."""


_REQUEST: Final = msgspec.msgpack.Decoder(EstopCommand | ReadEstop)


class EstopServer:
    """Serves the socket in threads of its own; close it."""

    def __init__(self, folder: Path, estop: EstopInterface) -> None:
        """`folder`: of the robot's links, which this process alone serves. Raises `StorageError`."""
        self._estop, self._slots = estop, threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._path = path = folder / SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            path.unlink(missing_ok=True)
            self._socket.bind(str(path))
        except OSError as error:
            raise StorageError(f"cannot use socket {path}: {error.strerror}; choose another run_dir") from None
        self._socket.listen(MAX_CONNECTIONS)
        self._closed = threading.Event()
        OwnedThread(self._accept, "estop", self._closed).start()

    def close(self) -> None:
        """Take no more. The folder is still this process's own, so that no other's socket is removed."""
        self._closed.set()
        with contextlib.suppress(OSError):  # as when the folder has gone
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            connection = self._socket.accept()[0]
            self._slots.acquire()
            try:
                threading.Thread(target=self._serve, args=(connection,), name="estop", daemon=True).start()
            except BaseException:  # no memory for a thread: whoever asks hears nothing, and asks again
                self._slots.release()
                connection.close()
                raise

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError), connection:
                connection.settimeout(OBEY_TIMEOUT_S)
                request = _REQUEST.decode(connection.recv(MAX_MESSAGE_BYTES))
                if isinstance(request, ReadEstop):
                    answer = EstopAnswer(success=True, message="", state=self._estop.state())
                else:
                    answer = self._estop.call(request)
                connection.send(pack(answer))
        finally:
            self._slots.release()


def ask_robot(run_dir: Path, robot: str, request: EstopCommand | ReadEstop) -> EstopAnswer:
    """Have a robot of this host stop, be reset or be started, or read its latch.

    A stop of a robot whose safety process does not run is written to its latch file, so that it starts stopped, also
    for the first time. Raises `StorageError` when nobody answers within `ANSWER_TIMEOUT_S`.
    """
    folder, deadline_s = link_folder(run_dir, robot), time.monotonic() + ANSWER_TIMEOUT_S
    if not isinstance(request, StopCommand) and not folder.is_dir():
        raise StorageError(f"no robot {robot} has run in {run_dir}; check the name and run_dir")
    while time.monotonic() < deadline_s:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(ANSWER_TIMEOUT_S)
            with contextlib.suppress(FileNotFoundError, ConnectionError):  # it ends, or starts
                try:
                    connection.connect(str(folder / SOCKET))
                    connection.send(pack(request))
                    if answer := connection.recv(MAX_MESSAGE_BYTES):  # empty: it ended before it answered
                        return msgspec.msgpack.decode(answer, type=EstopAnswer)
                except TimeoutError:
                    break
        if isinstance(request, StopCommand):
            with contextlib.suppress(LockHeld):
                return _stop_at_start(folder, request)
        time.sleep(RETRY_S)
    late = "; it obeys as soon as it runs again: use the robot's own e-stop" if isinstance(request, StopCommand) else ""
    raise StorageError(f"the safety process of {robot} in {run_dir} does not answer: is it running?{late}")


def _stop_at_start(folder: Path, request: StopCommand) -> EstopAnswer:
    """Latch a robot whose safety process does not run; raises `LockHeld` when one does."""
    with sole_server(folder, Link.COMMAND, wait_s=0.0):
        latch = EstopLatch(folder / LATCH_FILE)
        latch.stop(request)
        try:
            latch.file.save()
        except OSError as error:
            raise StorageError(f"cannot write {folder / LATCH_FILE}: {error}; free space or mend the folder") from None
        return EstopAnswer(success=True, message=WILL_START_STOPPED, state=latch.state())
