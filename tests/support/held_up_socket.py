"""A proxy before a robot's e-stop socket that keeps each message until it is told to pass it on."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from floop_robot.robot.estop_socket import SOCKET
from floop_robot.robot.ipc import link_folder
from floop_robot.robot.messages import MAX_MESSAGE_BYTES


class HeldUpSocket:
    """Use as a context manager; clients give `run_dir` instead of the robot's own."""

    def __init__(self, run_dir: Path, robot: str, own_run_dir: Path) -> None:
        self._target, self.run_dir = link_folder(run_dir, robot) / SOCKET, own_run_dir
        folder = link_folder(own_run_dir, robot)
        folder.mkdir(parents=True, mode=0o700)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(str(folder / SOCKET))
        self._socket.listen()
        self.go_on = threading.Event()
        self.held = self.passed = 0
        self.loses_answers = False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._pass_on, args=(self._socket.accept()[0],), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as robot:
            message = client.recv(MAX_MESSAGE_BYTES)
            self.held += 1
            self.go_on.wait(20.0)
            robot.connect(str(self._target))
            robot.send(message)
            answer = robot.recv(MAX_MESSAGE_BYTES)
            self.passed += 1
            if not self.loses_answers:
                client.send(answer)

    def __enter__(self) -> HeldUpSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
