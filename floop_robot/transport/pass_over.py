"""Drops the rest of a ZeroMQ message that has very many parts, in compiled code where that could be built.

libzmq hands the parts of a message over one by one, and gives nothing of another message before. One message may have
millions. Python takes some 16 times as long for each, and keeps all other threads waiting; compiled code does not.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from floop_robot.transport.zmq_sockets import Socket

_FUNCTIONS: Final = ("zmq_msg_init", "zmq_msg_recv", "zmq_msg_more", "zmq_msg_close")


def pass_over(socket: Socket) -> None:
    """Read what is left of a message of which a part was read, and more are there."""
    compiled = compiled_pass_over()
    if compiled is None or not compiled(socket):
        pass_over_in_python(socket)


def pass_over_in_python(socket: Socket) -> None:
    """The same without compiled code."""
    receive, flags = socket.recv, int(zmq.NOBLOCK)
    while receive(flags, False).more:
        pass


@functools.cache
def compiled_pass_over() -> Callable[[Socket], bool] | None:
    """Reads to the message's end and says whether it got there; None where there is no compiled code."""
    for path in Path(__file__).parent.glob("_pass_over.*"):
        try:
            library = ctypes.CDLL(str(path))
            # The module is linked to the libzmq that it uses, so this finds the functions of that one.
            libzmq = ctypes.CDLL(importlib.import_module("zmq.backend.cython._zmq").__file__)
            functions = [ctypes.cast(getattr(libzmq, name), ctypes.c_void_p) for name in _FUNCTIONS]
            call = library.floop_pass_over
        except (OSError, ImportError, AttributeError):  # built for another machine, or another kind of pyzmq
            continue
        call.argtypes, call.restype = [ctypes.c_void_p] * 5, ctypes.c_int
        return lambda socket: bool(call(socket.underlying, *functions))
    return None
