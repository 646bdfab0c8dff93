"""RobotFits: the latest fit of the simulator to each robot, as gate and explorers read it from the journal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from floop_robot.spec.hidden_parameters import HiddenRanges, HiddenWorlds
from floop_robot.spec.records import Event, Source, StreamInfo
from floop_robot.spec.simulator_fit import SimulatorFit, fits_of

MAX_ROBOTS = 256
"""Robots whose fits are remembered; the one fitted longest ago goes first."""


class RobotFits:
    """Fits by robot; pure: a restarted process goes on from its `state`."""

    def __init__(self, fits: Iterable[SimulatorFit] = (), changes: int = 0) -> None:
        self._fits: OrderedDict[str, SimulatorFit] = OrderedDict((fit.robot, fit) for fit in fits)
        self.changes = changes
        """Rises with every fit."""

    def __iter__(self) -> Iterator[SimulatorFit]:
        """The latest fit of each robot, the one fitted longest ago first."""
        return iter(self._fits.values())

    def take(self, info: StreamInfo, events: Iterable[Event]) -> None:
        """Take in a block of one stream; only fitters count."""
        if info.source is Source.FITTER:
            for fit in fits_of(events):
                self._fits[fit.robot] = fit
                self._fits.move_to_end(fit.robot)
                self.changes += 1
                if len(self._fits) > MAX_ROBOTS:
                    self._fits.popitem(last=False)

    def fit(self, robot: str) -> SimulatorFit | None:
        """The latest fit of a robot; None without one."""
        return self._fits.get(robot)

    def explain(self, robot: str) -> bool:
        """Whether a fit of the robot explains its failures."""
        fit = self._fits.get(robot)
        return fit is not None and fit.explains

    @property
    def explain_any(self) -> bool:
        """Whether a fit of any robot does."""
        return any(fit.explains for fit in self._fits.values())

    def worlds(self, robot: str) -> HiddenWorlds:
        """What a robot's world may be like: as fitted, else as anywhere. A fit that explains nothing is not used."""
        fit = self._fits.get(robot)
        return fit if fit is not None and fit.explains else HiddenRanges()
