"""fit_robot: the simulator fitted to one robot's recorded episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from floop_robot.fit.measurements import HeldRows, Measurements, measure
from floop_robot.fit.recorded_episodes import RecordedEpisode
from floop_robot.fit.replay import Replayer, Values, mismatch
from floop_robot.fit.search import PopulationSearch, Posterior, Prior
from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.spec.hidden_parameters import HiddenParameters, HiddenRanges
from floop_robot.spec.simulator_fit import SimulatorFit

REPLAYED = 6
"""Episodes that are replayed in each world, most of them failures; the measurements read all."""
TOUCHED_STEPS = 9
"""Steps that are replayed after the first possible touch: grasp and lift. Later ones differ by chance in any world."""
SCREENED = (40, 120)
"""Worlds that are first compared with `SCREENING` episodes: while calibration was measured, and where it is searched.

The true offset lies in a basin of some 8 mm, and offsets of 5 cm are possible.
"""
SCREENING = 2
ROUNDS = (24, 20, 20, 20, 20)
"""Worlds in each population after that."""
SETTLED = 0.1
"""Mismatch below which no further population is drawn: what remains is noise."""
SAMPLES = 32
CERTAINTY = 2.0
"""What a row's mismatch counts as a negative log-likelihood; chosen by the coverage of the intervals."""
EXPLAINED = 0.5
"""Mismatch up to which a fitted simulator explains what a robot recorded."""
_SPLIT = 0.15
"""Standard deviation of what goes from log friction to log mass: only their ratio tells something."""
_LOAD, _LATENCY, _X, _Y = range(4)


def fit_robot(
    replayer: Replayer, robot: str, episodes: Sequence[RecordedEpisode], rng: np.random.Generator
) -> Iterator[SimulatorFit | None]:
    """A fit after each population, each better than the one before, and None after each simulated world in between.

    Needs at least one episode; all of their objects must have models.
    """
    recordings = _Recordings(replayer, episodes)
    nominal, measured = recordings.apart(HiddenParameters()), recordings.measured
    yield None
    prior, posterior, fitted = _prior(measured), None, 1.0
    for few, counts in ((SCREENING, (SCREENED[measured.calibration_xy is None],)), (REPLAYED, ROUNDS)):
        search = PopulationSearch(prior, rng, posterior)
        scale = CERTAINTY * TOUCHED_STEPS * min(few, len(recordings.chosen))
        for count in counts:
            points, costs = search.propose(count), []
            for point in points:
                costs.append(scale * recordings.apart(_world(point, measured), few))
                yield None
            posterior = search.take(points, np.array(costs))
            fitted = float(posterior.costs.min()) / scale
            yield SimulatorFit(
                robot=robot,
                samples=_samples(posterior, measured, rng),
                episodes=len(episodes),
                mismatch_nominal=nominal,
                mismatch=fitted,
                explains=fitted <= EXPLAINED,
            )
            if few == REPLAYED and fitted < SETTLED:
                return


class _Recordings:
    """A robot's recorded episodes: what they tell directly, and those that are replayed."""

    def __init__(self, replayer: Replayer, episodes: Sequence[RecordedEpisode]) -> None:
        self._replayer = replayer
        recorded = [replayer.recorded(episode) for episode in episodes]
        yaws = [replayer.run(episode, HiddenParameters()).yaw_rad for episode in episodes]
        held = [HeldRows.of(trajectory, yaw) for trajectory, yaw in zip(recorded, yaws, strict=True)]
        self.measured = measure(recorded, held, replayer.period_s)
        noise = self.measured.noise_m
        self._noise_m = noise.value if noise else HiddenParameters().position_noise_m
        failed = [i for i, episode in enumerate(episodes) if not episode.success]
        succeeded = [i for i, episode in enumerate(episodes) if episode.success]
        latest = sorted(failed[-REPLAYED + 2 :] + succeeded[-REPLAYED:])[-REPLAYED:]
        self.chosen = [(episodes[i], recorded[i]) for i in latest]

    def apart(self, world: HiddenParameters, count: int = REPLAYED) -> float:
        """Mean mismatch of the latest `count` replayed episodes in a world."""
        found = [
            mismatch(
                recorded,
                self._replayer.run(episode, world, recorded.untouched + TOUCHED_STEPS).trajectory,
                self._noise_m,
            )
            for episode, recorded in self.chosen[-count:]
        ]
        return float(np.mean(found))


def _prior(measured: Measurements) -> Prior:
    """Of log load, latency and calibration error in x and y, given what was measured."""
    mean, std = np.array([0.0, 0.015, 0.0, 0.0]), np.array([0.25, 0.01, 0.002, 0.002])
    wide = np.array([1.5, 0.15, 0.03, 0.03])
    if measured.latency_s:
        mean[_LATENCY], std[_LATENCY] = measured.latency_s.value, measured.latency_s.std
        wide[_LATENCY] = std[_LATENCY]
    if measured.calibration_xy:
        offset, precision = measured.calibration_xy
        known = precision + np.eye(2) / wide[_X] ** 2
        spread = np.sqrt(np.diag(np.linalg.inv(known)))
        mean[_X:], wide[_X:] = np.linalg.solve(known, precision @ offset), spread
        std[_X:] = np.minimum(spread, 0.003)
    return Prior(mean, std, wide, ((_LOAD,), (_LATENCY,), (_X, _Y)))


def _world(point: Values, measured: Measurements) -> HiddenParameters:
    """The world of a point; what is neither searched nor measured is as in the simulator."""
    load, usual, force = float(np.exp(np.clip(point[_LOAD], -2.0, 5.0))), HiddenParameters(), measured.force_n
    return HiddenParameters(
        friction_factor=load**-0.5,
        mass_factor=load**0.5,
        gripper_force_factor=usual.gripper_force_factor if force is None else force / GRIP_FORCE_N,
        latency_s=max(0.0, float(point[_LATENCY])),
        position_noise_m=measured.noise_m.value if measured.noise_m else usual.position_noise_m,
        calibration_x_m=float(point[_X]),
        calibration_y_m=float(point[_Y]),
        calibration_z_m=measured.calibration_z_m.value if measured.calibration_z_m else 0.0,
    )


def _samples(posterior: Posterior, measured: Measurements, rng: np.random.Generator) -> tuple[HiddenParameters, ...]:
    """Worlds of the posterior; what the recordings don't tell varies as in `HiddenRanges`."""
    return tuple(_varied(_world(point, measured), measured, rng) for point in posterior.draw(rng, SAMPLES))


def _varied(world: HiddenParameters, measured: Measurements, rng: np.random.Generator) -> HiddenParameters:
    unknown, split = HiddenRanges().draw(rng), float(np.exp(_SPLIT * rng.standard_normal()))
    force, noise, height = measured.force_n, measured.noise_m, measured.calibration_z_m
    if force is not None and force > 0.99 * GRIP_FORCE_N:
        force = GRIP_FORCE_N * float(rng.uniform(1.0, 1.1))  # the command limits it: how strong it is can't be seen
    varied = msgspec.structs.replace(
        world,
        friction_factor=world.friction_factor * split,
        mass_factor=world.mass_factor * split,
        table_friction=unknown.table_friction,
        gripper_force_factor=unknown.gripper_force_factor if force is None else force / GRIP_FORCE_N,
        position_noise_m=abs(noise.value + noise.std * rng.standard_normal()) if noise else unknown.position_noise_m,
        calibration_z_m=height.value + height.std * rng.standard_normal() if height else unknown.calibration_z_m,
    )
    return HiddenParameters(**{name: float(value) for name, value in msgspec.structs.asdict(varied).items()})
