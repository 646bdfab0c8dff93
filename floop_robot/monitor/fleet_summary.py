"""FleetSummary: what the journal says of the fleet, so that nobody has to read it from its start.

Ingest keeps one up to date with the journal and stores it there. Gate, explorers and fitter begin with it and read what
came after. So old blocks may go: what fails, with its reports, and the current fits stay.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floop_robot.durable.framing import pack
from floop_robot.monitor.failure_monitor import FailureMonitor, MonitorState
from floop_robot.monitor.robot_fits import RobotFits
from floop_robot.spec.errors import FloopError
from floop_robot.spec.records import EpisodeEnd, Event, Label, StreamInfo
from floop_robot.spec.simulator_fit import SimulatorFit


class SummaryDamaged(FloopError):
    """Bytes that are no summary of this floop; the journal is read instead."""


class _State(msgspec.Struct, array_like=True):
    failures: MonitorState
    fits: list[SimulatorFit]
    fit_changes: int


_DECODER = msgspec.msgpack.Decoder(_State)


class FleetSummary:
    """A failure monitor and the fits of the simulator; feed it every block of the journal."""

    def __init__(self, failures: FailureMonitor | None = None, fits: RobotFits | None = None) -> None:
        self.failures = failures or FailureMonitor()
        """What fails on the robots."""
        self.fits = fits or RobotFits()
        """What is known of the robots' worlds."""

    def take(
        self, info: StreamInfo, ends: Sequence[EpisodeEnd], labels: Sequence[Label], events: Sequence[Event]
    ) -> None:
        """Take in what a block of one stream tells."""
        self.failures.take(info, ends, labels)
        self.fits.take(info, events)

    @property
    def changes(self) -> int:
        """Rises whenever it may have changed."""
        return self.failures.changes + self.fits.changes

    def to_bytes(self) -> bytes:
        """As bytes."""
        return pack(_State(self.failures.state(), list(self.fits), self.fits.changes))

    @classmethod
    def from_bytes(cls, data: bytes) -> FleetSummary:
        """From `to_bytes`; raises `SummaryDamaged`."""
        try:
            state = _DECODER.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise SummaryDamaged(f"the journal's summary is of another floop ({error})") from None
        return cls(FailureMonitor.from_state(state.failures), RobotFits(state.fits, state.fit_changes))
