"""What holds for all tests."""

from __future__ import annotations

import signal

# A shell without job control has what it starts in the background ignore SIGINT, children included: Ctrl-C, which many
# tests send to processes of theirs, would do nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
