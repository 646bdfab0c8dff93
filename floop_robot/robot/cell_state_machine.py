"""CellStateMachine: prepares episodes for a driver that knows nothing of them; a pure function of messages and times.

Going home is motion, and motion goes through safety alone. While the arm goes home, the cell publishes READY for
episode 0, in which no policy ever acts, and sends targets of episode 0. So limits, watchdog and e-stop hold for
these, too.
"""

from __future__ import annotations

import enum
import math
from typing import Final

import msgspec

from floop_robot.robot.controller import GRIP_FORCE_N
from floop_robot.robot.messages import Joints, JointTarget, Phase, RobotState
from floop_robot.spec.robot_model import RobotModel

HOMING_EPISODE: Final = 0
MAX_HOMING_LEAD_RAD: Final = 0.2
"""How far the target may be ahead of the arm; beyond that, the way home begins again where the arm is."""
OPEN_FRACTION: Final = 0.9
"""Share of its width from which a gripper counts as open."""
STILL_RAD_S: Final = 0.02


class CellSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a cell prepares an episode."""

    homes: bool = True
    """The cell brings the arm home; otherwise it waits until somebody else has."""
    opens_first: bool = False
    """Open the gripper before going home rather than there."""
    needs_confirmation: bool = False
    """An object counts as ready when somebody confirms it; otherwise as soon as it is seen."""
    speed_rad_s: float = 0.3
    tolerance_rad: float = 0.03


class CellStage(enum.StrEnum):
    """What the cell is doing."""

    IDLE = "waits for the first request"
    HOMING = "the arm goes home"
    LAYING_OUT = "waits for an object"
    READY = "ready"


class CellStateMachine:
    """One arm's cell; `tick` at policy rate, `request` whenever the policy asks."""

    def __init__(self, model: RobotModel, settings: CellSettings, policy_rate_hz: float) -> None:
        self._model, self._settings, self._rate_hz = model, settings, policy_rate_hz
        self._way: Joints = ()
        self._seq = 0
        self.episode = 0
        self.stage = CellStage.IDLE
        self.is_confirmed = False
        """Somebody confirmed that an object is there; counts once."""

    @property
    def episode_and_phase(self) -> tuple[int, Phase]:
        """Episode and phase as published on `driver/episode_state`."""
        if self.stage is CellStage.HOMING and self._settings.homes:
            return HOMING_EPISODE, Phase.READY
        return self.episode, Phase.READY if self.stage is CellStage.READY else Phase.RESETTING

    def change(self, settings: CellSettings) -> None:
        """Work with other settings from the next tick on; from any thread."""
        self._settings = settings

    def request(self, episode: int) -> Phase:
        """Prepare an episode for the policy; returns the phase that it is in."""
        if episode != self.episode or self.stage is CellStage.IDLE:
            self.episode, self.stage, self._way, self.is_confirmed = episode, CellStage.HOMING, (), False
        return Phase.READY if self.stage is CellStage.READY else Phase.RESETTING

    def tick(self, state: RobotState | None, now_s: float, is_stopped: bool = False) -> JointTarget | None:
        """One step; `state` is None while the arm is silent. Returns where the arm shall go, while it goes home.

        After a silence or a stop the way home begins where the arm is: somebody may have moved it. Safety would follow
        a target far away as fast as it may.
        """
        if state is None or is_stopped:
            self._way = ()
            return None
        if self.stage is CellStage.IDLE:
            return None
        if self.stage is CellStage.HOMING:
            if not self._is_home(state):
                return self._step_home(state, now_s) if self._settings.homes else None
            self.stage = CellStage.LAYING_OUT
        has_work = self.is_confirmed if self._settings.needs_confirmation else True
        if self.stage is CellStage.LAYING_OUT and has_work and state.object is not None:
            self.stage, self.is_confirmed = CellStage.READY, False
        return None

    def _is_home(self, state: RobotState) -> bool:
        away = max(abs(a - b) for a, b in zip(state.q_rad, self._model.home_rad, strict=True))
        is_open = state.gripper_width_m >= OPEN_FRACTION * self._model.gripper.max_width_m
        return away <= self._settings.tolerance_rad and is_open and max(map(abs, state.dq_rad_s)) <= STILL_RAD_S

    def _step_home(self, state: RobotState, now_s: float) -> JointTarget:
        way = self._way or state.q_rad
        if max(abs(a - b) for a, b in zip(way, state.q_rad, strict=True)) > MAX_HOMING_LEAD_RAD:
            way = state.q_rad
        longest = max(abs(home - at) for home, at in zip(self._model.home_rad, way, strict=True))
        is_open = state.gripper_width_m >= OPEN_FRACTION * self._model.gripper.max_width_m
        if (is_open or not self._settings.opens_first) and longest > 0.0:
            share = min(1.0, self._settings.speed_rad_s / self._rate_hz / longest)
            way = tuple(at + (home - at) * share for home, at in zip(self._model.home_rad, way, strict=True))
        self._way = way
        self._seq += 1
        opens = self._settings.opens_first or math.dist(way, self._model.home_rad) <= self._settings.tolerance_rad
        return JointTarget(
            q_rad=way,
            gripper_width_m=self._model.gripper.max_width_m if opens else 0.0,
            gripper_force_n=GRIP_FORCE_N,
            seq=self._seq,
            mono_s=now_s,
            episode=HOMING_EPISODE,
        )
