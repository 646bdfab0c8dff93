"""StopSignals: Ctrl-C and SIGTERM end a training where it can be gone on with."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from floop_robot.spec.errors import FloopError

PATIENCE_S = 3.0
"""How long a signal waits for the end of an episode. Then it interrupts whatever runs."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a training; the text says in one line what was kept."""

    def __init__(self, text: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(text)
        self.status = 128 + signal_number
        """Exit status of a command that ends so."""


class StopSignals:
    """Notes the first signal; the training looks at `received` where it may end. Use it as a context.

    The second signal, or patience running out, raises `KeyboardInterrupt`. Only the main thread gets signals: elsewhere
    nothing is noted. SIGTERM is left alone where the program has a handler of its own. Without patience, the first
    signal raises. Of two contexts the inner one gets the signals.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.received: int | None = None
        """Number of the signal that came."""
        self._patience_s, self._before, self._is_held = patience_s, dict[int, Any](), False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if number == signal.SIGINT or _is_free(signal.getsignal(number)):
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        is_first, self.received = self.received is None, self.received or number
        if is_first and self._patience_s:
            self._timer = threading.Timer(self._patience_s, os.kill, (os.getpid(), number))
            self._timer.name, self._timer.daemon = "floop-stop-patience", True
            self._timer.start()
        elif not self._is_held:
            raise KeyboardInterrupt

    @contextmanager
    def kept_at_end(self, keep: Callable[[], str]) -> Iterator[None]:
        """Whatever ends what runs within it, `keep` is called, and the error says what that kept.

        So it is for errors that nobody foresaw: of a user's callback, or where memory is short.
        """
        try:
            yield
        except KeyboardInterrupt:
            raise TrainingInterrupted(f"stopped; {keep()}", self.received or signal.SIGINT) from None
        except FloopError as error:
            error.args = (f"{error}; {keep()}",)
            raise
        except (Exception, SystemExit) as error:
            error.add_note(keep())
            raise

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it nothing is raised, so that files that belong together are all written."""
        before, self._is_held = self._is_held, True
        try:
            yield
        finally:
            self._is_held = before

    def raise_if_received(self) -> None:
        """Raise `KeyboardInterrupt` when a signal came."""
        if self.received is not None:
            if self._timer is not None:
                self._timer.cancel()
            raise KeyboardInterrupt


def _is_free(handler: Any) -> bool:
    """Whether nobody but floop handles a signal."""
    return handler is signal.SIG_DFL or isinstance(getattr(handler, "__self__", None), StopSignals)
