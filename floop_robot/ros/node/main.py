"""How every node process begins and ends: start ROS and signal handlers, work, shut all down within 5 s.

A process has a `serve(ros)`, which makes its nodes and loop and works until `ros.stop`. Its `main` is
`partial(run, name, serve)`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.ros.node.dds import prefer_udp, without_shared_memory
from floop_robot.ros.node.rosout import logging_to
from floop_robot.ros.node.stamps import follow_clock
from floop_robot.services.entry import USER_ERROR, exit_with_supervisor
from floop_robot.services.main_loop import stop_on_signals
from floop_robot.spec.errors import ConfigError, FloopError

_SPIN_S: Final = 10.0
"""How long the executor waits for work. Each time it wakes up costs it half a millisecond, also without work."""
_END_S: Final = 1.0
_ANSWER_S: Final = 0.2
"""How long callbacks are still served at the end: a call that waited is answered instead of timing out."""

N = TypeVar("N", bound=Node)


class RosProcess:
    """One ROS context with its nodes and the executor that spins them."""

    def __init__(self, argv: list[str] | None = None) -> None:
        """`argv` may hold `--ros-args …`; the process's own arguments by default."""
        self.stop: threading.Event = stop_on_signals()
        """Set by SIGINT and SIGTERM."""
        self.context = Context()
        given = sys.argv if argv is None else argv
        prefer_udp()
        try:
            rclpy.init(args=given, context=self.context, signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # a severity that there isn't, a file that can't be read
            raise ConfigError(f"ROS does not take the command line: {str(error).splitlines()[0]}") from None
        self._nodes: list[Node] = []
        self._first = contextlib.ExitStack()
        """What begins with the first node, and ends before it."""

    def node(self, name: str) -> Node:
        """A plain node, destroyed at the end."""
        return self.make(lambda context: Node(name, context=context))

    def make(self, kind: Callable[[Context], N]) -> N:
        """A node of another kind, destroyed at the end."""
        if self._nodes:
            node = kind(self.context)
        else:
            with without_shared_memory():  # with the first one comes the DDS participant
                node = kind(self.context)
            self._first.enter_context(logging_to(node))
            follow_clock(node.get_clock())
            self._first.callback(follow_clock, None)
        self._nodes.append(node)
        return node

    @contextlib.contextmanager
    def spinning(self, *nodes: Node) -> Iterator[None]:
        """Serve callbacks of `nodes` in a thread of their own meanwhile."""
        executor = SingleThreadedExecutor(context=self.context)
        for node in nodes:
            executor.add_node(node)
        done = threading.Event()
        thread = OwnedThread(functools.partial(_spin, executor, done), "executor", done)
        thread.start()
        try:
            yield
        finally:
            done.set()
            executor.create_task(lambda: None)  # `wake` alone would not end the wait
            thread.join(_END_S)
            executor.shutdown(timeout_sec=_END_S)

    def close(self) -> None:
        """Destroy the nodes and leave ROS; signals have no effect any more."""
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)  # ros2 launch sends SIGINT twice
        self._first.close()
        for node in reversed(self._nodes):
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


def _spin(executor: SingleThreadedExecutor, done: threading.Event) -> None:
    end_s = math.inf
    while (now_s := time.monotonic()) < end_s:
        if done.is_set() and end_s == math.inf:
            end_s = now_s + _ANSWER_S
        try:
            executor.spin_once(timeout_sec=min(_SPIN_S, end_s - now_s))
        except ExternalShutdownException:
            return
        except Exception:  # a broken callback must not silence the others
            logging.getLogger(__name__).error("callback failed:\n%s", traceback.format_exc())


def run(program: str, serve: Callable[[RosProcess], Any], argv: list[str] | None = None) -> int:
    """Serve until a signal; returns the exit status: 2 after an error that the user can correct, which is printed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    exit_with_supervisor()
    ros: RosProcess | None = None
    try:
        ros = RosProcess(argv)
        serve(ros)
    except FloopError as error:
        print(f"{program}: {error}", file=sys.stderr, flush=True)
        return USER_ERROR
    finally:
        if ros is not None:
            ros.close()
    return 0
