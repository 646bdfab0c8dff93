"""Replay: a recorded episode's actions in a simulated world, and how far what comes of it is from the recording."""

from __future__ import annotations

from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from floop_envs.env import Approach, make_env
from floop_envs.scenarios import model_of
from floop_robot.fit.recorded_episodes import RecordedEpisode
from floop_robot.robot.kinematics import Kinematics, yaw_of
from floop_robot.spec.calibration import NO_OFFSET, Offset
from floop_robot.spec.hidden_parameters import HiddenParameters
from floop_robot.spec.layout import Layout
from floop_robot.spec.scenario import ObjectSpec, Scenario
from floop_robot.stream.columns import Matrix

Values = NDArray[np.float64]
CLEARANCE_M = 0.03
"""A TCP this far above an object's top has not touched it."""
POSITION_TOLERANCE_M, WIDTH_TOLERANCE_M, EFFORT_TOLERANCE_N = 0.005, 0.004, 2.0
"""Differences beyond which a replayed row counts as another outcome: an arm's own delays make about half of them."""


class Trajectory(msgspec.Struct, frozen=True, dict=True):
    """What the observations of an episode say of arm and object, `n` rows; base frame."""

    tcp: Values
    """Measured TCP, m, shape (n, 3)."""
    velocity: Values
    """Of the TCP, m/s, shape (n, 3)."""
    object: Values
    """Perceived center of the object, uncorrected, m, shape (n, 3)."""
    width: Values
    """Between the fingers, m, shape (n,)."""
    effort: Values
    """Of the fingers, N, shape (n,)."""
    object_size: tuple[float, float, float]

    @classmethod
    def of(cls, layout: Layout, obs: Matrix, correction_m: Offset = NO_OFFSET) -> Trajectory:
        """Read raw observations, shape (n, layout.size); `correction_m` was subtracted from perceived positions."""
        parts = {name: np.asarray(obs[:, part], np.float64) for name, part in layout.slices.items()}
        tcp = np.concatenate([parts["tcp_x"], parts["tcp_y"], parts["tcp_z"]], axis=1)
        x, y, z = parts["object_size"][0].tolist()
        return cls(
            tcp=tcp,
            velocity=parts["tcp_velocity"],
            object=tcp + parts["object_from_tcp"] + np.array(correction_m),
            width=parts["gripper_width"][:, 0],
            effort=parts["gripper_effort"][:, 0],
            object_size=(x, y, z),
        )

    @cached_property
    def untouched(self) -> int:
        """Number of rows at the start in which the arm can't have touched the object; at least 1."""
        near = np.flatnonzero(self.tcp[:, 2] < self.object[:, 2] + 0.5 * self.object_size[2] + CLEARANCE_M)
        return max(1, int(near[0]) if len(near) else len(self.tcp))

    @cached_property
    def lift_m(self) -> float:
        """How high the object was lifted."""
        return lifted_m(self.object[:, 2], float(self.start[2]))

    @cached_property
    def start(self) -> Values:
        """Where the object was perceived before it was touched, m, shape (3,)."""
        mean: Values = self.object[: self.untouched].mean(axis=0)
        return mean


class Replayer:
    """Replays episodes in one simulator; owned by one thread."""

    def __init__(self, task: str, robot: str) -> None:
        """Raises `UnknownName`."""
        self._task, self._env = task, make_env(task, robot)
        self._kinematics = Kinematics(self._env.robot)
        self.layout = self._env.rules.spec.observation
        self.period_s = self._env.rules.spec.period_s
        self.rows = 0
        """Policy steps simulated so far."""

    def run(self, episode: RecordedEpisode, world: HiddenParameters) -> Replay:
        """Replay the requested actions of `episode` in `world`, perceived without noise.

        Raises `UnknownName` for an object without a model.
        """
        recorded, env = self.recorded(episode), self._env
        obs, _ = env.reset(options={"scenario": self._scenario(episode, recorded, world)})
        rows, yaws, approach = [obs], [yaw_of(self._kinematics.pose(env.state.q_rad))], env.approach()
        for action in episode.actions:
            rows.append(env.step(action)[0])
            yaws.append(yaw_of(self._kinematics.pose(env.state.q_rad)))
            if len(rows) == recorded.untouched:
                approach = env.approach()
        self.rows += len(episode.actions)
        return Replay(Trajectory.of(self.layout, np.array(rows)), np.unwrap(yaws), approach)

    def touched(self, episode: RecordedEpisode, world: HiddenParameters, approach: Approach, steps: int) -> Trajectory:
        """What comes of the first `steps` actions after `approach` in `world`: it is the same in each world until then.

        `approach`: of a replay of this episode. The first row is the last one before a touch.
        """
        scenario = self._scenario(episode, self.recorded(episode), world)
        rows = [self._env.reset(options={"scenario": scenario, "approach": approach})[0]]
        actions = episode.actions[approach.steps : approach.steps + steps]
        rows += [self._env.step(action)[0] for action in actions]
        self.rows += len(actions)
        return Trajectory.of(self.layout, np.array(rows))

    def lift_m(self, episode: RecordedEpisode, world: HiddenParameters, approach: Approach) -> float:
        """How high the object is lifted in `world` by all actions after `approach`, of a replay of this episode."""
        scenario = self._scenario(episode, self.recorded(episode), world)
        obs, _ = self._env.reset(options={"scenario": scenario, "approach": approach})
        rows = [obs]
        for action in episode.actions[approach.steps :]:
            self.rows += 1
            obs, _, _, _, info = self._env.step(action)
            rows.append(obs)
            if info["is_success"]:
                break
        heights = Trajectory.of(self.layout, np.array(rows)).object[:, 2]
        return lifted_m(heights, float(heights[0]))

    def recorded(self, episode: RecordedEpisode) -> Trajectory:
        """What a recording says of arm and object."""
        return Trajectory.of(self.layout, episode.obs, episode.object.correction_m)

    def close(self) -> None:
        """Close the simulator."""
        self._env.close()

    def _scenario(self, episode: RecordedEpisode, recorded: Trajectory, world: HiddenParameters) -> Scenario:
        """The object where it must have stood to be perceived as recorded; mass and friction as of a usual one."""
        report, model = episode.object, model_of(episode.object.object_class)
        usual = ObjectSpec(
            object_class=model.object_class,
            shape=model.shape,
            size_m=report.size_m,
            mass_kg=float(np.mean(model.mass_kg)),
            lateral_friction=float(np.mean(model.lateral_friction)),
        )
        x, y, _ = recorded.start.tolist()
        scenario = Scenario(
            task=self._task,
            seed=0,
            object=usual,
            object_xy_m=(x - world.calibration_x_m, y - world.calibration_y_m),
            object_yaw_rad=report.yaw_rad,
        )
        return msgspec.structs.replace(world.apply(scenario), position_noise_m=0.0)


class Replay(msgspec.Struct, frozen=True):
    """What came of a replay."""

    trajectory: Trajectory
    yaw_rad: Values
    """Of the gripper, base frame, continuous, shape (n,)."""
    approach: Approach
    """Up to the last row in which the arm can't have touched the object."""


def lifted_m(heights: Values, start: float) -> float:
    """How far perceived heights, shape (n,), rise above `start` at least twice in three rows: once may be noise."""
    if len(heights) < 3:
        return 0.0
    return max(0.0, float(np.median(np.lib.stride_tricks.sliding_window_view(heights, 3), axis=1).max()) - start)


def mismatch(recorded: Trajectory, replayed: Trajectory, noise_m: float) -> float:
    """Mean distance in [0, 1] of replayed rows from those recorded since the last one before a touch (`touched`).

    Errors of perceived position, width and effort saturate: once a contact went another way, more of it tells nothing.
    """
    if len(replayed.width) < 2:
        return 0.0  # nothing was touched: that happens in any world
    first = recorded.untouched
    rows = slice(first, first + len(replayed.width) - 1)
    position = ((recorded.object[rows] - replayed.object[1:]) ** 2).sum(axis=1)
    errors = np.stack(
        [
            position / (3.0 * noise_m**2 + POSITION_TOLERANCE_M**2),
            ((recorded.width[rows] - replayed.width[1:]) / WIDTH_TOLERANCE_M) ** 2,
            ((recorded.effort[rows] - replayed.effort[1:]) / EFFORT_TOLERANCE_N) ** 2,
        ]
    )
    return float(np.mean(1.0 - np.exp(-0.5 * errors)))
