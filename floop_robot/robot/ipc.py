"""IpcLinks: the messages between driver, safety and policy of one robot, over Unix sockets (`ipc://`, no TCP port).

| link | from → to | binds |
|---|---|---|
| state | driver → safety, policy | driver |
| command | safety → driver | safety, so nobody else can publish on it |
| report | safety → policy, watchers | safety |
| target | policy → safety | safety |
| request | policy → driver | driver |

All keep only the newest message. Sending never waits; messages that nobody reads are dropped. Either end may be
restarted: ZeroMQ reconnects. Stops and resets, each of which counts, go another way (`estop_socket.py`).
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec
import zmq

from floop_robot.durable.locks import ExclusiveLock, LockHeld
from floop_robot.robot.messages import (
    Codec,
    JointCommand,
    JointTarget,
    ResetRequest,
    RobotState,
    SafetyState,
)
from floop_robot.spec.errors import StorageError

MAX_PATH_BYTES: Final = 100
"""Linux allows 107 bytes for the path of a Unix socket."""
RECONNECT_MS: Final = 10
MAX_RECONNECT_MS: Final = 200
LOCK_WAIT_S: Final = 1.0
"""Who will serve a link waits this long for it: a stop of a robot that starts has it while it writes the latch."""
_LOCK_RETRY_S: Final = 0.02

T = TypeVar("T", bound=msgspec.Struct)


class Link(enum.StrEnum):
    """The links of one robot."""

    STATE = "state"
    COMMAND = "command"
    REPORT = "report"
    TARGET = "target"
    REQUEST = "request"


def link_folder(run_dir: Path, robot: str) -> Path:
    """Folder of a robot's sockets: in the run directory, or in the temporary folder if that path is too long."""
    folder = run_dir.resolve() / "links" / robot
    if len(os.fsencode(folder)) > MAX_PATH_BYTES - 16:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"floop-{os.getuid()}-{digest}"
    return folder


class IpcLinks:
    """One process's ends of a robot's links; a context manager. Use from one thread after construction.

    Raises `StorageError` when the folder can't be used, or when another process already serves the same end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = zmq.Context()
        self._sockets: list[zmq.Socket[bytes]] = []
        self._bound: list[Path] = []
        self._locks: list[ExclusiveLock] = []
        _own(folder)

    def states_out(self) -> IpcSender[RobotState]:
        """The driver's states."""
        return self._sender(Link.STATE, RobotState, bind=True)

    def states_in(self) -> LatestReceiver[RobotState]:
        """The driver's states, for safety and policy."""
        return self._receiver(Link.STATE, RobotState, bind=False)

    def commands_out(self) -> IpcSender[JointCommand]:
        """Safety's commands."""
        return self._sender(Link.COMMAND, JointCommand, bind=True)

    def commands_in(self) -> LatestReceiver[JointCommand]:
        """Safety's commands, for the driver."""
        return self._receiver(Link.COMMAND, JointCommand, bind=False)

    def reports_out(self) -> IpcSender[SafetyState]:
        """Safety's own state."""
        return self._sender(Link.REPORT, SafetyState, bind=True)

    def reports_in(self) -> LatestReceiver[SafetyState]:
        """Safety's own state, for the policy and others."""
        return self._receiver(Link.REPORT, SafetyState, bind=False)

    def targets_out(self) -> IpcSender[JointTarget]:
        """The policy's targets."""
        return self._sender(Link.TARGET, JointTarget, bind=False)

    def targets_in(self) -> LatestReceiver[JointTarget]:
        """The policy's targets, for safety."""
        return self._receiver(Link.TARGET, JointTarget, bind=True)

    def requests_out(self) -> IpcSender[ResetRequest]:
        """The policy's episode requests."""
        return self._sender(Link.REQUEST, ResetRequest, bind=False)

    def requests_in(self) -> LatestReceiver[ResetRequest]:
        """The policy's episode requests, for the driver."""
        return self._receiver(Link.REQUEST, ResetRequest, bind=True)

    def close(self) -> None:
        """Close every socket and unlock every end."""
        for socket in self._sockets:
            socket.close()
        self._context.term()
        for path in self._bound:  # ZeroMQ leaves some behind when the process ends
            path.unlink(missing_ok=True)
        for lock in self._locks:
            lock.release()
        self._sockets, self._bound, self._locks = [], [], []

    def __enter__(self) -> IpcLinks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sender(self, link: Link, kind: type[T], *, bind: bool) -> IpcSender[T]:
        return IpcSender(self._socket(zmq.PUB, link, bind=bind), kind)

    def _receiver(self, link: Link, kind: type[T], *, bind: bool) -> LatestReceiver[T]:
        return LatestReceiver(self._socket(zmq.SUB, link, bind=bind), kind)

    def _socket(self, socket_type: int, link: Link, *, bind: bool) -> zmq.Socket[bytes]:
        path = self._folder / f"{link.value}.ipc"
        if bind:
            # A second bind to the same path would silently cut off the first.
            self._locks.append(_lock(path, LOCK_WAIT_S))
            self._bound.append(path)
        socket: zmq.Socket[bytes] = self._context.socket(socket_type)
        self._sockets.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, MAX_RECONNECT_MS)
        socket.setsockopt(zmq.CONFLATE, 1)  # works only when set before connect or bind
        if socket_type == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        try:
            socket.bind(f"ipc://{path}") if bind else socket.connect(f"ipc://{path}")
        except zmq.ZMQError as error:
            raise StorageError(f"cannot use socket {path}: {error.strerror}; choose another run_dir") from None
        return socket


@contextlib.contextmanager
def sole_server(folder: Path, link: Link, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Claim the serving end of a link for this process, whatever transport serves it.

    Raises `StorageError`, and `LockHeld` when another process has it for more than `wait_s`.
    """
    _own(folder)
    lock = _lock(folder / f"{link.value}.ipc", wait_s)
    try:
        yield
    finally:
        lock.release()


def _own(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot use {folder} for sockets: {error.strerror}; choose another run_dir") from None
    if folder.stat().st_uid != os.getuid():  # another user may have made it in a shared temporary folder
        raise StorageError(f"{folder} belongs to another user; choose another run_dir")


def _lock(path: Path, wait_s: float) -> ExclusiveLock:
    """Claim the serving end of a socket, with a lock beside it."""
    deadline_s = time.monotonic() + wait_s
    while True:
        try:
            return ExclusiveLock(path.with_suffix(".lock"), f"socket {path}", "stop it first (floop status shows it)")
        except LockHeld:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(_LOCK_RETRY_S)


class IpcSender(Generic[T]):
    """Sends messages of one kind; never waits."""

    def __init__(self, socket: zmq.Socket[bytes], kind: type[T]) -> None:
        self._socket, self._codec = socket, Codec(kind)

    def send(self, message: T, /) -> None:
        """Send the message, or drop it when nobody can take it."""
        with contextlib.suppress(zmq.Again):
            self._socket.send(self._codec.encode(message), zmq.NOBLOCK)


class LatestReceiver(Generic[T]):
    """Receives messages of one kind; never waits."""

    def __init__(self, socket: zmq.Socket[bytes], kind: type[T]) -> None:
        self._socket, self._codec = socket, Codec(kind)

    @property
    def refused(self) -> int:
        """Messages that could not be decoded."""
        return self._codec.refused

    def receive(self) -> T | None:
        """The newest message since the last call, or None."""
        try:
            return self._codec.decode(self._socket.recv(zmq.NOBLOCK))
        except zmq.Again:
            return None

    def wait(self, timeout_s: float) -> T | None:
        """Like `receive`, but waits up to `timeout_s` for a message: for drivers that are paced by commands."""
        if not self._socket.poll(int(timeout_s * 1000)):
            return None
        return self.receive()
