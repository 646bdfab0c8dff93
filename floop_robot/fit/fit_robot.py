"""fit_robot: the simulator fitted to one robot's recorded episodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, islice

import msgspec
import numpy as np

from floop_envs.env import Approach
from floop_robot.fit.load_estimate import (
    CHANGED_MEAN,
    CHANGED_STD,
    USUAL_STD,
    LoadBounds,
    LoadEstimate,
    estimate_load,
    load_bounds,
)
from floop_robot.fit.measurements import HeldRows, Measurements, measure
from floop_robot.fit.recorded_episodes import RecordedEpisode
from floop_robot.fit.replay import Replayer, Values, mismatch
from floop_robot.fit.search import PopulationSearch, Prior
from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.spec.hidden_parameters import HiddenParameters, HiddenRanges
from floop_robot.spec.simulator_fit import SimulatorFit

TOUCHED_STEPS = 10
"""Steps that are replayed from the first possible touch on: grasp and lift. Later ones differ by chance anyway."""
POPULATIONS = ((80, 2), (30, 4), (20, 6), (20, 6))
"""Worlds, and episodes that are replayed in each: first of all, many worlds."""
REPLAYED = max(episodes for _, episodes in POPULATIONS)
"""Episodes that are compared with worlds, most of them failures; measurements and loads read all."""
REPLAYED_SUCCESSES = 2
"""Of them, where there are enough failures."""
KNOWN_SHARE = 0.4
"""Of the worlds, where calibration was measured, or the robot was fitted before."""
LENGTHS = np.array([0.5, 0.06, 0.01, 0.01])
"""Over which the mismatch changes: load (natural log, no unit), latency (s), calibration in x and y (m)."""
REPLAY_STD = np.array([0.3, 0.003, 0.002, 0.002])
"""Error of a fit from many episodes, in the same units; chosen by the coverage of the intervals.

No simulated world is quite like a robot's."""
SAMPLES = 32
CERTAINTY = 2.0
"""What a row's mismatch counts as a negative log-likelihood; chosen by the coverage of the intervals, too."""
EXPLAINED = 0.4
"""Mismatch up to which a fitted simulator explains what a robot recorded."""
WIDE_SHARE = 0.3
"""Probability that the load changed, before lifts are compared; that latency did; that calibration did."""
ELSEWHERE = np.array([0.02, 0.004, 0.004])
"""Latency (s) and calibration (m) that differ so much from those with which the load was estimated change it."""
_SPLIT = 0.15
"""Standard deviation of what goes from log friction to log mass: only their ratio tells something."""
_LOAD, _LATENCY, _X, _Y = range(4)


def fit_robot(
    replayer: Replayer,
    robot: str,
    episodes: Sequence[RecordedEpisode],
    rng: np.random.Generator,
    earlier: SimulatorFit | None = None,
    fresh: int | None = None,
) -> Iterator[SimulatorFit | None]:
    """A fit after each population, each better than the one before, and None after each piece of work in between.

    A piece is a simulated world, or the load from which on an episode fails. Needs at least one episode; all of their
    objects must have models. `earlier`: a fit to all but the last `fresh` episodes, which most probably holds. So only
    these are compared with worlds; measurements and loads read all.
    """
    recordings = Recordings(replayer, episodes, fresh or len(episodes))
    nominal, measured = recordings.usual_mismatch, recordings.measured
    yield None
    place, load, at = Place.of(measured), LoadEstimate(), np.full(3, np.inf)
    search = PopulationSearch(_prior(measured, place, earlier), LENGTHS, rng)
    scale = CERTAINTY * TOUCHED_STEPS * len(recordings.chosen)
    for worlds, few in POPULATIONS:
        count = worlds if measured.calibration_xy is None and earlier is None else round(KNOWN_SHARE * worlds)
        points, costs = search.propose(count, scale), []
        for point in points:
            costs.append(recordings.mean_mismatch(_world(point, measured), few))
            yield None
        replayed = min(few, len(recordings.chosen))
        search.take(points, np.array(costs), replayed)
        found = search.draw(SAMPLES, CERTAINTY * TOUCHED_STEPS * replayed)  # few episodes tell less
        found += REPLAY_STD * rng.standard_normal(found.shape)
        if (np.abs(np.median(found[:, _LATENCY:], axis=0) - at) > ELSEWHERE).any():
            at = np.median(found[:, _LATENCY:], axis=0)
            for load in recordings.load(at):  # noqa: B007
                yield None
        found[:, _LOAD] = load.draw(SAMPLES, rng)
        fitted = float(np.clip(np.median(search.smoothed(found)[0]), 0.0, 1.0))
        samples = tuple(_varied(_world(point, measured), measured, rng) for point in found)
        yield SimulatorFit(
            robot=robot,
            samples=samples,
            episodes=len(episodes),
            mismatch_nominal=nominal,
            mismatch=fitted,
            explains=fitted <= EXPLAINED,
        )


class Recordings:
    """A robot's recorded episodes: what they tell directly, and those that are replayed."""

    def __init__(self, replayer: Replayer, episodes: Sequence[RecordedEpisode], fresh: int) -> None:
        """`fresh`: how many of the latest may be replayed."""
        self._replayer = replayer
        recorded = [replayer.recorded(episode) for episode in episodes]
        replays = [replayer.run(episode, HiddenParameters()) for episode in episodes]
        self._recorded = recorded
        self._all = [(episode, replay.approach) for episode, replay in zip(episodes, replays, strict=True)]
        held = [HeldRows.of(trajectory, replay.yaw_rad) for trajectory, replay in zip(recorded, replays, strict=True)]
        self.measured = measure(recorded, held, replayer.period_s)
        noise = self.measured.noise_m
        self._noise_m = noise.value if noise else HiddenParameters().position_noise_m
        candidates = range(len(episodes) - fresh, len(episodes))
        failed = [i for i in candidates if not episodes[i].success]
        succeeded = [i for i in candidates if episodes[i].success]
        failed = failed[-(REPLAYED - min(len(succeeded), REPLAYED_SUCCESSES)) :]
        latest = sorted(failed + succeeded[::-1][: REPLAYED - len(failed)])
        self.chosen = [(episodes[i], recorded[i], replays[i].approach) for i in latest]
        self._next = cycle(range(len(self.chosen)))
        self._usual = [self._mismatch(HiddenParameters(), place) for place in range(len(self.chosen))]

    @property
    def usual_mismatch(self) -> float:
        """Mean mismatch of all replayed episodes in the usual world."""
        return float(np.mean(self._usual))

    def mean_mismatch(self, world: HiddenParameters, count: int = REPLAYED) -> float:
        """Mean mismatch of `count` of the replayed episodes in a world, each time of the next ones."""
        places = list(islice(self._next, min(count, len(self.chosen))))
        off = [self._mismatch(world, place) - self._usual[place] for place in places]
        return self.usual_mismatch + float(np.mean(off))

    def _mismatch(self, world: HiddenParameters, place: int) -> float:
        episode, recorded, approach = self.chosen[place]
        return mismatch(recorded, self._replayer.touched(episode, world, approach, TOUCHED_STEPS), self._noise_m)

    def load(self, place: Values) -> Iterator[LoadEstimate]:
        """What lifts tell of the load at a `place` (latency, calibration in x and y): more with each episode."""
        found = list[LoadBounds]()
        for (episode, approach), recorded in zip(self._all, self._recorded, strict=True):
            lifts = partial(self._lift_m, episode, approach, place)
            found.append(load_bounds(lifts, recorded.lift_m))
            yield estimate_load(found)

    def _lift_m(self, episode: RecordedEpisode, approach: Approach, place: Values, log_load: float) -> float:
        world = _world(np.array([log_load, *place]), self.measured)
        return self._replayer.lift_m(episode, world, approach)


class Place(msgspec.Struct, frozen=True):
    """Latency and calibration error in x and y (s, m), shape (3,), as far as they were measured."""

    mean: Values
    std: Values
    """Where nothing changed."""
    wide_std: Values
    """Where something did."""

    @classmethod
    def of(cls, measured: Measurements) -> Place:
        """What the measurements say."""
        mean, std, wide = np.array([0.015, 0.0, 0.0]), np.array([0.01, 0.002, 0.002]), np.array([0.15, 0.03, 0.03])
        if measured.latency_s:
            mean[0], std[0] = measured.latency_s.value, measured.latency_s.std
            wide[0] = std[0]
        if measured.calibration_xy:
            offset, precision = measured.calibration_xy
            known = precision + np.eye(2) / wide[1] ** 2
            spread = np.sqrt(np.diag(np.linalg.inv(known)))
            mean[1:], wide[1:] = np.linalg.solve(known, precision @ offset), spread
            std[1:] = np.minimum(spread, 0.003)
        return cls(mean, std, wide)


def _prior(measured: Measurements, place: Place, earlier: SimulatorFit | None) -> Prior:
    """Of log load, latency and calibration error in x and y, given what was measured."""
    before = None if earlier is None else np.array([_point(world) for world in earlier.samples])
    return Prior(
        mean=np.array([0.0, *place.mean]),
        std=np.array([USUAL_STD, *place.std]),
        wide_mean=np.array([CHANGED_MEAN, *place.mean]),
        wide_std=np.array([CHANGED_STD, *place.wide_std]),
        groups=((_LOAD,), (_LATENCY,), (_X, _Y)),
        # A gripper that misses lifts nothing either. So lifts tell of the load only once the place is known.
        wide_share=(WIDE_SHARE,) * 3,
        earlier=None if before is None else _still_likely(before, measured),
    )


def _still_likely(points: Values, measured: Measurements) -> Values:
    """Points of an earlier fit in proportion to what is known now, shape (n, 4)."""
    off = np.zeros(len(points))
    if measured.latency_s:
        off += ((points[:, _LATENCY] - measured.latency_s.value) / measured.latency_s.std) ** 2
    if measured.calibration_xy:
        apart, precision = points[:, _X:] - measured.calibration_xy[0], measured.calibration_xy[1]
        off += np.einsum("ni,ij,nj->n", apart, precision, apart)
    weights = np.cumsum(np.exp(-0.5 * (off - off.min())))
    places = (np.arange(len(points)) + 0.5) / len(points)
    kept: Values = points[np.searchsorted(weights / weights[-1], places)]
    return kept


def _point(world: HiddenParameters) -> tuple[float, float, float, float]:
    """What is searched, of a world."""
    load = math.log(world.mass_factor / world.friction_factor)
    return load, world.latency_s, world.calibration_x_m, world.calibration_y_m


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
