"""SimulatorFit: the simulator as fitted to one robot, and the journal event in which it travels.

A fitter puts it into the journal as an `Event` of a stream with `Source.FITTER`, so gate, explorers and learner get it
in order and again after a restart. The last fit of a robot counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from floop_robot.spec.hidden_parameters import PARAMETERS, HiddenParameters, HiddenRanges, Range
from floop_robot.spec.records import Event

POSSIBLE: dict[str, Range] = dict.fromkeys(PARAMETERS, (0.0, 100.0)) | {
    "mass_factor": (1e-3, 100.0),
    "friction_factor": (1e-3, 100.0),  # the load is mass over friction
    "latency_s": (0.0, 1.2),  # what simulated perception keeps
    "position_noise_m": (0.0, 0.2),
    **{f"calibration_{axis}_m": (-0.5, 0.5) for axis in "xyz"},
}
"""Worlds outside these ranges are no fit, whoever sent them."""
MAX_PLACE_STD_M = 0.01
"""A horizontal calibration that is known no better is not practised: worlds 6 cm off teach nothing."""
FIT_EVENT = "simulator_fit"
"""Name of the event; its detail is the fit as JSON."""


class SimulatorFit(msgspec.Struct, frozen=True, kw_only=True):
    """What one robot's world is probably like; a `HiddenWorlds`.

    The samples are worlds that explain what the robot recorded, in their frequency. So parameters that only tell
    something together (friction and mass) stay together. What the recordings can't tell varies as in `HiddenRanges`.
    """

    robot: str
    samples: tuple[HiddenParameters, ...]
    """Never empty."""
    episodes: int
    """Recorded episodes that were compared."""
    mismatch_nominal: float
    """Mean distance of the simulator as it is from the recordings, in [0, 1]: 0 is equal up to noise."""
    mismatch: float
    """The same of the fitted simulator."""
    explains: bool
    """Whether fitted worlds come near the recordings. If they don't, the failures can't be simulated."""

    def draw(self, rng: np.random.Generator) -> HiddenParameters:
        """One of the worlds at random; where the horizontal calibration is not known, that of any robot."""
        world = self.samples[int(rng.integers(len(self.samples)))]
        if self.knows_place:
            return world
        other = HiddenRanges().draw(rng)
        x, y = other.calibration_x_m, other.calibration_y_m
        return msgspec.structs.replace(world, calibration_x_m=x, calibration_y_m=y)

    @property
    def knows_place(self) -> bool:
        """Whether the horizontal calibration is known well."""
        return max(self.std("calibration_x_m"), self.std("calibration_y_m")) <= MAX_PLACE_STD_M

    def mean(self, parameter: str) -> float:
        """Mean of a parameter, by its name in `PARAMETERS`."""
        return float(np.mean(self._values(parameter)))

    def std(self, parameter: str) -> float:
        """Standard deviation of a parameter."""
        return float(np.std(self._values(parameter)))

    def _values(self, parameter: str) -> list[float]:
        return [getattr(sample, parameter) for sample in self.samples]


def fit_event(fit: SimulatorFit, stamp_ns: int) -> Event:
    """The fit as the event that a fitter reports."""
    return Event(seq=0, stamp_ns=stamp_ns, name=FIT_EVENT, detail=msgspec.json.encode(fit).decode())


def fits_of(events: Iterable[Event]) -> list[SimulatorFit]:
    """The fits among the events of a block, oldest first. What can't be read is left out."""
    found = []
    for event in events:
        if event.name == FIT_EVENT:
            try:
                fit = msgspec.json.decode(event.detail, type=SimulatorFit)
            except (msgspec.MsgspecError, RecursionError):
                continue
            if fit.samples and all(map(_is_possible, fit.samples)):
                found.append(fit)
    return found


def _is_possible(world: HiddenParameters) -> bool:
    return all(low <= getattr(world, name) <= high for name, (low, high) in POSSIBLE.items())  # False for NaN
