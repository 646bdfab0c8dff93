"""fit_robot: the simulator fitted to one robot's recorded episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from floop_robot.fit.measurements import FRAME_S, HeldRows, Measurements, measure
from floop_robot.fit.recorded_episodes import RecordedEpisode
from floop_robot.fit.replay import Replayer, Trajectory, Values, mismatch
from floop_robot.fit.search import PopulationSearch, Posterior, Prior
from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.spec.hidden_parameters import HiddenParameters, HiddenRanges
from floop_robot.spec.simulator_fit import SimulatorFit

REPLAYED = 8
"""Episodes that are replayed in each world; the measurements read all."""
TOUCHED_STEPS = 9
"""Steps that are replayed after the first possible touch: grasp and lift. Later ones differ by chance in any world."""
ROUNDS = (36, 20, 20, 20)
"""Worlds in each population."""
SAMPLES = 32
CERTAINTY = 2.0
"""What a row's mismatch counts: rows depend on each other. Chosen by the coverage of the intervals."""
EXPLAINED = 0.25
"""Mismatch up to which a fitted simulator explains what a robot recorded."""
_SPLIT = 0.15
"""Standard deviation of what goes from log friction to log mass: only their ratio tells something."""
_LOAD, _LATENCY, _X, _Y = range(4)


class _Recordings:
    """A robot's recorded episodes, the measurements, and those episodes that are replayed."""

    def __init__(self, replayer: Replayer, episodes: Sequence[RecordedEpisode]) -> None:
        self.trajectories = [Trajectory.of(replayer.layout, episode.obs) for episode in episodes]
        plain = [replayer.run(episode, HiddenParameters()) for episode in episodes]
        held = [
            HeldRows.of(recorded, replay.yaw_rad) for recorded, replay in zip(self.trajectories, plain, strict=True)
        ]
        self.measured = measure(self.trajectories, held, replayer.period_s)
        failed = [i for i, episode in enumerate(episodes) if not episode.success][-REPLAYED + 2 :]
        rest = [i for i in range(len(episodes)) if i not in failed]
        chosen = sorted([*failed, *rest[len(rest) - REPLAYED + len(failed) :]][:REPLAYED])
        self.chosen = [(episodes[i], self.trajectories[i]) for i in chosen]


def fit_robot(
    replayer: Replayer, robot: str, episodes: Sequence[RecordedEpisode], rng: np.random.Generator
) -> Iterator[SimulatorFit]:
    """A fit after each population, each better than the one before; needs at least one episode."""
    recordings = _Recordings(replayer, episodes)
    measured = recordings.measured
    noise_m = measured.noise_m.value if measured.noise_m else HiddenParameters().position_noise_m

    def apart(world: HiddenParameters) -> float:
        """Mean mismatch of the replayed episodes."""
        found = [
            mismatch(recorded, replayer.run(episode, world, recorded.untouched + TOUCHED_STEPS).trajectory, noise_m)
            for episode, recorded in recordings.chosen
        ]
        return float(np.mean(found))

    nominal = apart(HiddenParameters())
    rows = TOUCHED_STEPS * len(recordings.chosen)
    search = PopulationSearch(_prior(measured), lambda point: CERTAINTY * rows * apart(_world(point, measured)), rng)
    for count in ROUNDS:
        posterior = search.round(count)
        fitted = float(posterior.costs.min()) / (CERTAINTY * rows)
        yield SimulatorFit(
            robot=robot,
            samples=_samples(posterior, measured, rng),
            episodes=len(episodes),
            mismatch_nominal=nominal,
            mismatch=fitted,
            explains=fitted <= EXPLAINED,
        )


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
    load, usual = float(np.exp(np.clip(point[_LOAD], -2.0, 5.0))), HiddenParameters()
    return HiddenParameters(
        friction_factor=load**-0.5,
        mass_factor=load**0.5,
        gripper_force_factor=usual.gripper_force_factor
        if measured.force_n is None
        else measured.force_n / GRIP_FORCE_N,
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
        force = GRIP_FORCE_N * float(rng.uniform(1.0, 1.1))  # the command limits it
    return msgspec.structs.replace(
        world,
        friction_factor=world.friction_factor * split,
        mass_factor=world.mass_factor * split,
        table_friction=unknown.table_friction,
        gripper_force_factor=unknown.gripper_force_factor if force is None else force / GRIP_FORCE_N,
        position_noise_m=abs(noise.value + noise.std * rng.standard_normal()) if noise else unknown.position_noise_m,
        calibration_z_m=height.value + height.std * rng.standard_normal() if height else unknown.calibration_z_m,
    )
