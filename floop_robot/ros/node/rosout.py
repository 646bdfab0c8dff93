"""What floop logs with Python's `logging` goes through a node's logger: to its log and to `/rosout`, with its level."""

from __future__ import annotations

import contextlib
import logging
import queue
from collections.abc import Iterator
from logging.handlers import QueueHandler, QueueListener
from typing import Any, Final

from rclpy.node import Node

MAX_WAITING: Final = 1000
"""Lines that wait to be written. More come only while nobody reads our output."""


class _RosHandler(logging.Handler):
    """Passes lines on to a logger of rclpy."""

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log it. rclpy allows one severity at each place of the code."""
        text = self.format(record)
        if record.levelno >= logging.CRITICAL:
            self._logger.fatal(text)
        elif record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


class _NeverWaits(QueueHandler):
    """Leaves lines to another thread: a servo loop must not wait for whoever reads our output."""

    def enqueue(self, record: logging.LogRecord) -> None:
        """Put it behind the others; without room it is lost."""
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


@contextlib.contextmanager
def logging_to(node: Node) -> Iterator[None]:
    """Have Python's `logging` go through the node's logger meanwhile, with its level."""
    logger, root = node.get_logger(), logging.getLogger()
    waiting: queue.Queue[Any] = queue.Queue(MAX_WAITING)
    listener = QueueListener(waiting, _RosHandler(logger))
    handlers, level = root.handlers, root.level
    root.handlers = [_NeverWaits(waiting)]
    root.setLevel(int(logger.get_effective_level()))
    listener.start()
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        with contextlib.suppress(queue.Full):  # nobody reads our output
            listener.stop()
