"""The cell's decisions, without ROS: who moves the arm home, when, and when work counts as laid out."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from floop_robot.robot.cell_state_machine import (
    HOMING_EPISODE,
    MAX_HOMING_LEAD_RAD,
    CellSettings,
    CellStage,
    CellStateMachine,
)
from floop_robot.robot.messages import JointTarget, PerceivedObject, Phase, RobotState
from floop_robot.robot.safety_loop import SafetyCore
from floop_robot.spec.robot_model import load_robot
from tests.support.estop_commands import reset_of, stop

MODEL = load_robot("panda")
RATE_HZ = 12.5
AWAY = tuple(q + 0.4 for q in MODEL.home_rad)
OPEN = MODEL.gripper.max_width_m
SEEN = PerceivedObject(object_class="box", size_m=(0.04, 0.04, 0.04), position_m=(0.5, 0.0, 0.02), yaw_rad=0.0)


def state(**changes: object) -> RobotState:
    still = RobotState(
        tick=1, stamp_ns=0, mono_s=0.0, q_rad=MODEL.home_rad, dq_rad_s=(0.0,) * 7, gripper_width_m=OPEN,
        gripper_effort_n=0.0, object=SEEN,
    )  # fmt: skip
    return msgspec.structs.replace(still, **changes)


def go_home(core: CellStateMachine, at: RobotState, steps: int = 100) -> list[JointTarget]:
    """The arm follows every target at once; until the cell is done with it."""
    sent = []
    for i in range(steps):
        target = core.tick(at, i / RATE_HZ)
        if target is None:
            break
        sent.append(target)
        at = msgspec.structs.replace(at, q_rad=target.q_rad, gripper_width_m=target.gripper_width_m)
    return sent


def core(**settings: object) -> CellStateMachine:
    made = CellStateMachine(MODEL, CellSettings(**settings), RATE_HZ)  # type: ignore[arg-type]
    made.request(5)
    return made


def test_nothing_moves_before_anybody_asked() -> None:
    fresh = CellStateMachine(MODEL, CellSettings(), RATE_HZ)
    assert fresh.tick(state(q_rad=AWAY), 0.0) is None
    assert fresh.episode_and_phase == (0, Phase.RESETTING)


def test_the_arm_goes_home_slowly_under_a_number_no_policy_has() -> None:
    cell = core(speed_rad_s=0.5)
    assert cell.episode_and_phase == (HOMING_EPISODE, Phase.READY)
    sent = go_home(cell, state(q_rad=AWAY))
    assert {t.episode for t in sent} == {HOMING_EPISODE}
    assert [t.seq for t in sent] == list(range(1, len(sent) + 1))
    way = [AWAY, *(t.q_rad for t in sent)]
    steps = [max(abs(a - b) for a, b in zip(p, q, strict=True)) for p, q in pairwise(way)]
    assert max(steps) <= 0.5 / RATE_HZ + 1e-9
    assert 0.4 / 0.5 * RATE_HZ - 3 <= len(sent) <= 0.4 / 0.5 * RATE_HZ + 3
    assert cell.episode_and_phase == (5, Phase.READY)
    assert cell.request(5) is Phase.READY
    assert cell.request(6) is Phase.RESETTING


@pytest.mark.parametrize("moved_rad", [0.1, 0.8])
def test_after_a_stop_the_arm_goes_home_slowly_from_where_somebody_has_put_it(moved_rad: float) -> None:
    """Cell and safety together: the way home that was begun before the stop is not taken up again."""
    safety, cell = SafetyCore(MODEL, 50.0, RATE_HZ, 0.1), core()
    at, fastest = list(AWAY), 0.0

    def servo(ticks: int, now_s: float) -> None:
        nonlocal at, fastest
        for i in range(ticks):
            episode, phase = cell.episode_and_phase
            seen = state(tick=int((now_s + i * 0.02) * 50), q_rad=tuple(at), mono_s=now_s + i * 0.02, phase=phase,
                         episode=episode)  # fmt: skip
            safety.take_state(seen)
            if i % 4 == 0 and (target := cell.tick(seen, now_s + i * 0.02, safety.latch.is_set)) is not None:
                safety.take_target(target)
            if (command := safety.tick(now_s + i * 0.02)[0]) is not None and not safety.latch.is_set:
                fastest = max(fastest, *(abs(a - b) * 50.0 for a, b in zip(command.q_rad, at, strict=True)))
                at = list(command.q_rad)

    servo(40, 10.0)
    assert AWAY[0] - 0.3 < at[0] < AWAY[0]
    undisturbed = fastest
    safety.apply_command(stop(), 11.0)
    servo(20, 11.0)
    at[0] += moved_rad
    put = at[0]
    servo(20, 12.0)
    assert safety.apply_command(reset_of(safety.latch), 13.0)[0]
    servo(100, 13.0)
    assert fastest <= 2.5 * undisturbed  # it may have begun two steps ahead; from where it was stopped it would be five
    assert at[0] < put  # on its way


def test_an_arm_that_does_not_follow_is_waited_for() -> None:
    cell = core()
    for i in range(200):
        target = cell.tick(state(q_rad=AWAY), i / RATE_HZ)
        assert target is not None
    assert max(abs(a - b) for a, b in zip(target.q_rad, AWAY, strict=True)) <= MAX_HOMING_LEAD_RAD + 0.3 / RATE_HZ
    assert cell.stage is CellStage.HOMING


@pytest.mark.parametrize(("first", "width_m"), [(True, OPEN), (False, 0.0)])
def test_the_gripper_lets_go_where_configured(first: bool, width_m: float) -> None:
    cell = core(opens_first=first)
    held = state(q_rad=AWAY, gripper_width_m=0.03)
    target = cell.tick(held, 0.0)
    assert target is not None
    assert target.gripper_width_m == width_m
    assert (target.q_rad == AWAY) is first  # with the gripper still closed, only one of the two moves
    assert go_home(cell, held)[-1].gripper_width_m == OPEN
    assert cell.stage is CellStage.READY


def test_an_object_must_be_seen_and_where_configured_confirmed() -> None:
    cell = core()
    cell.tick(state(object=None), 0.0)
    assert (cell.stage, cell.episode_and_phase) == (CellStage.LAYING_OUT, (5, Phase.RESETTING))
    cell.tick(state(), 0.1)
    assert cell.episode_and_phase == (5, Phase.READY)

    cell = core(needs_confirmation=True)
    cell.tick(state(), 0.0)
    assert cell.stage is CellStage.LAYING_OUT
    cell.is_confirmed = True
    cell.tick(state(object=None), 0.1)
    assert cell.stage is CellStage.LAYING_OUT
    cell.tick(state(), 0.2)
    assert cell.stage is CellStage.READY
    cell.request(6)  # a button pressed for one episode says nothing about the next
    cell.tick(state(), 0.3)
    assert cell.stage is CellStage.LAYING_OUT


def test_homing_from_outside_is_waited_for() -> None:
    cell = core(homes=False)
    assert cell.tick(state(q_rad=AWAY), 0.0) is None
    assert cell.episode_and_phase == (5, Phase.RESETTING)
    cell.tick(state(dq_rad_s=(0.5,) * 7), 0.1)
    assert cell.stage is CellStage.HOMING  # not yet at rest
    cell.tick(state(), 0.2)
    assert cell.stage is CellStage.READY


def test_a_silent_arm_is_left_alone() -> None:
    cell = core()
    assert cell.tick(None, 0.0) is None
    assert cell.stage is CellStage.HOMING
