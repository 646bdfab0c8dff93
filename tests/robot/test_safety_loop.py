"""SafetyCore as a pure function of messages and times."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.messages import (
    Cause,
    EstopCommand,
    JointTarget,
    Phase,
    RobotState,
    SafetyMode,
    StartCommand,
    StopCommand,
)
from floop_robot.robot.safety_loop import SafetyCore
from floop_robot.spec.robot_model import load_robot
from tests.support.estop_commands import reset_of, stop
from tests.support.limit_violations import worst_violation

MODEL = load_robot("panda")
HOME = MODEL.home_rad
STILL = (0.0,) * 7


def state(tick: int, now_s: float, **changes: object) -> RobotState:
    whole = RobotState(
        tick=tick, stamp_ns=0, mono_s=now_s, q_rad=HOME, dq_rad_s=STILL, episode=1, phase=Phase.READY,
        gripper_width_m=0.05, gripper_effort_n=0.0,
    )  # fmt: skip
    return msgspec.structs.replace(whole, **changes)


def target(seq: int, now_s: float, q: tuple[float, ...] = HOME, **changes: object) -> JointTarget:
    whole = JointTarget(q_rad=q, seq=seq, mono_s=now_s, gripper_width_m=0.02, gripper_force_n=20.0, episode=1)
    return msgspec.structs.replace(whole, **changes)


class Clocked:
    """A core with time: 50 Hz, and a state in every tick unless told otherwise."""

    def __init__(self) -> None:
        self.core = SafetyCore(MODEL, 50.0, 12.5, 0.1)
        self.now_s, self.n = 10.0, 0

    def tick(self, *, alive: bool = True, **changes: object):
        self.n += 1
        self.now_s += 0.02
        if alive:
            self.core.take_state(state(self.n, self.now_s, **changes))
        return self.core.tick(self.now_s)

    def stop(self, who: str = "ann", **more: str) -> None:
        assert self.core.apply_command(stop(who, **more), self.now_s) == (True, "stopped")

    def reset(self, **changes: str) -> tuple[bool, str]:
        return self.core.apply_command(reset_of(self.core.latch, **changes), self.now_s)


@pytest.fixture
def safety() -> Clocked:
    return Clocked()


def test_before_a_state_and_while_resetting_nothing_is_commanded(safety: Clocked) -> None:
    command, report = safety.tick(alive=False)
    assert command is None
    assert report.mode is SafetyMode.WAITING
    command, report = safety.tick(phase=Phase.RESETTING)
    assert command is None
    assert report.mode is SafetyMode.WAITING
    command, report = safety.tick()
    assert command is not None
    assert command.q_rad == HOME
    assert report.mode is SafetyMode.HOLDING


def test_a_target_is_followed_and_its_gripper_obeyed(safety: Clocked) -> None:
    safety.tick()
    goal = tuple(q + 0.02 for q in HOME)
    for seq in range(3):
        safety.core.take_target(target(seq, safety.now_s, goal))
        for _ in range(4):
            command, report = safety.tick()
    assert command.q_rad == pytest.approx(goal, abs=1e-6)
    assert command.gripper_width_m == 0.02
    assert report.interventions.total == 0
    assert report.target_seq == 2


def test_a_target_of_another_episode_is_ignored(safety: Clocked) -> None:
    safety.tick()
    safety.core.take_target(target(1, safety.now_s, tuple(q + 0.1 for q in HOME), episode=2))
    command, report = safety.tick()
    assert command.q_rad == HOME
    assert report.mode is SafetyMode.HOLDING


def test_a_late_target_holds_then_brakes(safety: Clocked) -> None:
    safety.tick()
    safety.core.take_target(target(1, safety.now_s, tuple(q + 0.03 for q in HOME)))
    modes = [safety.tick()[1].mode for _ in range(16)]
    assert modes[:3] == [SafetyMode.FOLLOWING] * 3
    assert modes[4:11] == [SafetyMode.HOLDING] * 7
    assert modes[12:] == [SafetyMode.STOPPING] * 4
    command, report = safety.tick()
    assert not any(command.dq_rad_s)
    assert command.q_rad == pytest.approx(tuple(q + 0.03 for q in HOME))
    assert report.interventions.total == 0  # it stood on the target long before it was given up


def test_silence_of_the_driver_brakes_and_counts_while_it_moves(safety: Clocked) -> None:
    safety.tick()
    far = tuple(q + 0.3 for q in HOME)
    for seq in range(3):
        safety.core.take_target(target(seq, safety.now_s, far))
        for _ in range(4):
            moving, _ = safety.tick()
    assert max(map(abs, moving.dq_rad_s)) > 0.5
    for _ in range(40):
        command, report = safety.tick(alive=False)
    assert report.mode is SafetyMode.STOPPING
    assert report.cause is Cause.NONE  # it stands
    assert not any(command.dq_rad_s)
    assert report.interventions.stale_state > 0
    command, report = safety.tick()
    assert report.mode is SafetyMode.HOLDING  # the old target is forgotten
    assert not any(command.dq_rad_s)


BAD = ({"q_rad": (math.nan,) * 7}, {"q_rad": HOME[:6]}, {"gripper_width_m": math.nan}, {"gripper_force_n": math.inf})


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_target_holds_and_is_a_fault(safety: Clocked, bad: dict[str, object]) -> None:
    safety.tick()
    safety.core.take_target(msgspec.structs.replace(target(1, safety.now_s), **bad))
    command, report = safety.tick()
    assert command.q_rad == HOME
    assert report.mode is SafetyMode.HOLDING
    assert report.interventions.nonfinite == 1
    assert "not finite" in report.fault


def test_a_state_of_nan_is_none(safety: Clocked) -> None:
    safety.tick()
    for _ in range(10):
        command, report = safety.tick(q_rad=(math.nan,) * 7)
    assert report.mode is SafetyMode.STOPPING
    assert "robot state" in report.fault
    assert command.q_rad == HOME


@pytest.mark.parametrize(("width", "commanded"), [(math.nan, 0.08), (0.5, 0.08), (-0.01, 0.0), (0.03, 0.03)])
def test_the_gripper_is_taken_over_within_its_limits(safety: Clocked, width: float, commanded: float) -> None:
    command, _ = safety.tick(gripper_width_m=width)
    assert command.gripper_width_m == commanded


def test_a_stop_latches_until_the_reset(safety: Clocked) -> None:
    safety.tick()
    goal = tuple(q + 0.3 for q in HOME)
    for seq in range(2):
        safety.core.take_target(target(seq, safety.now_s, goal))
        for _ in range(4):
            before = safety.tick()[0]
    assert any(before.dq_rad_s)
    safety.stop(why="test")
    at_once = safety.tick()[0]
    assert at_once.q_rad == before.q_rad
    assert not any(at_once.dq_rad_s)
    stopped = command = at_once
    for seq in range(2, 8):
        safety.core.take_target(target(seq, safety.now_s, goal))
        for _ in range(4):
            command, report = safety.tick(q_rad=stopped.q_rad)
    assert command.q_rad == stopped.q_rad
    assert report.mode is SafetyMode.ESTOP
    assert report.estop
    assert report.fault == "stopped by ann: test"
    assert report.interventions.estop > 0
    assert not any(command.dq_rad_s)
    safety.reset()
    safety.core.take_target(target(8, safety.now_s, goal))  # was on its way when the stop was reset
    standing = safety.tick(q_rad=stopped.q_rad)[0].q_rad
    assert standing == command.q_rad  # released, but nothing moves before a new target
    safety.core.take_target(target(8, safety.now_s - 0.01, goal))
    assert safety.tick(q_rad=stopped.q_rad)[0].q_rad == standing
    safety.core.take_target(target(9, safety.now_s, goal))
    assert safety.tick(q_rad=stopped.q_rad)[0].q_rad != standing


def test_the_arm_is_taken_over_where_it_is_when_driver_or_episode_change(safety: Clocked) -> None:
    safety.tick()
    away = tuple(q + 0.2 for q in HOME)
    assert safety.tick(q_rad=away)[0].q_rad == HOME
    assert safety.tick(q_rad=away, episode=2)[0].q_rad == away
    safety.n = 0  # the driver was started again
    assert safety.tick(episode=2)[0].q_rad == HOME


def test_fingers_that_press_go_on_pressing_and_others_stay(safety: Clocked) -> None:
    assert safety.tick(gripper_effort_n=15.0)[0].gripper_width_m == 0.0
    assert Clocked().tick()[0].gripper_width_m == 0.05


@pytest.mark.parametrize(("width", "commanded"), [(0.05, 0.045), (0.003, 0.0), (0.08, 0.08)])
def test_fingers_of_unknown_effort_keep_what_they_may_hold(safety: Clocked, width: float, commanded: float) -> None:
    command, _ = safety.tick(gripper_effort_n=math.nan, gripper_width_m=width)
    assert command.gripper_width_m == pytest.approx(commanded)


LIMITED = msgspec.structs.replace(
    MODEL, limits=msgspec.structs.replace(MODEL.limits, effort_nm=(87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0))
)


def test_an_effort_beyond_its_limit_stops_the_arm_and_is_named() -> None:
    safety = Clocked()
    safety.core = SafetyCore(LIMITED, 50.0, 12.5, 0.1)
    within = (80.0, -86.0, math.nan, 10.0, 0.0, 0.0, 0.0)
    beyond = (*within[:5], -15.5, 0.0)
    for efforts in ((), within, (math.nan,) * 7):
        for _ in range(50):
            assert not safety.tick(effort_nm=efforts)[1].estop
    for _ in range(20):  # peaks of 0.08 s
        assert not any(safety.tick(effort_nm=beyond)[1].estop for _ in range(5))
        safety.tick(effort_nm=within)
    found = [safety.tick(effort_nm=beyond)[1] for _ in range(6)]
    assert [report.estop for report in found] == [False] * 5 + [True]
    assert found[-1].fault == (
        "stopped by safety: effort of panda_joint6 is -15.5 N·m for 0.1 s, its range is -12 to 12 N·m"
    )
    assert safety.reset()[0]
    assert not safety.tick(effort_nm=within)[1].estop
    assert [safety.tick(effort_nm=beyond)[1].estop for _ in range(6)][-1]


@pytest.mark.parametrize("late_s", [0.1, 0.2, 0.3, 1.0])
def test_a_policy_that_answers_late_is_not_followed_by_a_jump(late_s: float) -> None:
    """Its answers bear the time of their question, and the arm goes on from where it is, within its limits."""
    safety, asked = Clocked(), []
    commands = [safety.tick()[0].q_rad]
    for seq in range(200):
        q = tuple(x + 0.3 * math.sin(0.4 * seq) for x in HOME)
        asked.append(target(seq, safety.now_s, q))
        for _ in range(4):
            while asked and safety.now_s - asked[0].mono_s >= late_s:
                safety.core.take_target(asked.pop(0))
            commands.append(safety.tick(q_rad=commands[-1])[0].q_rad)
    assert worst_violation(np.array(commands)) <= 0.0
    assert (len(set(commands)) == 1) == (late_s > 0.24)  # after three policy periods not followed at all


def test_the_gripper_stays_within_its_limits(safety: Clocked) -> None:
    safety.tick()
    safety.core.take_target(target(1, safety.now_s, gripper_width_m=3.0, gripper_force_n=1e9))
    command, _ = safety.tick()
    assert command.gripper_width_m == MODEL.gripper.max_width_m
    assert command.gripper_force_n == MODEL.gripper.max_force_n


events = st.lists(
    st.tuples(
        st.sampled_from(["target", "nan", "far", "stop", "release", "none", "silence"]), st.integers(1, 6),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=15,
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(events)
def test_whatever_happens_the_commands_stay_inside_the_limits(script: list[tuple[str, int, int]]) -> None:
    """An emergency stop alone may break the acceleration limit: there the command stands from one tick to the next."""
    safety = Clocked()
    commands = [safety.tick()[0].q_rad] * 2
    pieces = [commands]
    for seq, (event, ticks, seed) in enumerate(script):
        rng = np.random.default_rng(seed)
        spread = {"target": 0.2, "far": 5.0, "nan": 0.0}.get(event)
        if spread is not None:
            q = np.array(HOME) + rng.normal(scale=spread, size=7)
            if event == "nan":
                q[rng.integers(7)] = np.nan
            safety.core.take_target(target(seq, safety.now_s, tuple(q.tolist())))
        elif event in ("stop", "release"):
            if event == "release" and safety.core.latch.is_set:
                commands = []  # it begins anew where the arm is
                pieces.append(commands)
            safety.stop() if event == "stop" else safety.reset()
        for _ in range(ticks):
            command, report = safety.tick(alive=event != "silence")
            if command is None:
                continue
            if report.cause is Cause.ESTOP:
                assert command.q_rad == commands[-1]
                assert not any(command.dq_rad_s)
                commands = [command.q_rad]
                pieces.append(commands)
            commands.append(command.q_rad)
    assert max((worst_violation(np.array(piece)) for piece in pieces if len(piece) > 2), default=0.0) <= 0.0


def test_a_stopped_arm_is_not_commanded_before_its_reset(safety: Clocked) -> None:
    safety.stop()
    elsewhere = tuple(q + 0.1 for q in HOME)  # somebody pushed it aside
    for _ in range(3):
        command, report = safety.tick(q_rad=elsewhere)
        assert command is None
        assert report.mode is SafetyMode.ESTOP
    safety.reset()
    assert safety.tick(q_rad=elsewhere)[0].q_rad == elsewhere


def test_an_arm_that_was_moved_while_stopped_is_taken_over_where_it_is(safety: Clocked) -> None:
    safety.tick()
    safety.stop()
    elsewhere = tuple(q + 0.1 for q in HOME)  # by its pendant, or by hand
    for _ in range(3):
        assert safety.tick(q_rad=elsewhere)[0].q_rad == HOME
    safety.reset()
    for _ in range(5):
        assert safety.tick(q_rad=elsewhere)[0].q_rad == elsewhere  # not back to where it was stopped
    safety.reset()  # nothing is latched: nothing begins anew
    assert safety.tick()[0].q_rad == elsewhere


def test_a_stopped_arm_is_left_to_its_driver_once_it_stands(safety: Clocked) -> None:
    safety.tick()
    safety.stop()
    commanded = [safety.tick()[0] for _ in range(100)]
    assert all(command is not None and command.q_rad == HOME for command in commanded[:45])
    assert commanded[60:] == [None] * 40
    elsewhere = tuple(q + 0.1 for q in HOME)
    safety.stop("bob")  # stopping again commands nothing either
    command, report = safety.tick(q_rad=elsewhere)
    assert (command, report.mode) == (None, SafetyMode.ESTOP)
    safety.reset()
    assert safety.tick(q_rad=elsewhere)[0].q_rad == elsewhere


@pytest.mark.parametrize(("found_m", "commanded_m"), [(0.04, 0.0), (0.07, 0.07)])
def test_after_a_stop_the_gripper_goes_on_gripping_unless_somebody_opened_it(
    safety: Clocked, found_m: float, commanded_m: float
) -> None:
    """Of a driver that knows no effort."""
    safety.tick(gripper_width_m=0.08)
    safety.core.take_target(target(1, safety.now_s, gripper_width_m=0.0))
    assert safety.tick(gripper_width_m=0.04)[0].gripper_width_m == 0.0  # it presses what is 4 cm wide
    safety.stop()
    for _ in range(100):
        safety.tick(gripper_width_m=found_m)
    safety.reset()
    assert safety.tick(gripper_width_m=found_m)[0].gripper_width_m == commanded_m


def test_a_late_reset_changes_nothing(safety: Clocked) -> None:
    safety.tick()
    safety.stop()
    seen = safety.core.latch.state().stop_id
    safety.stop("bob")
    assert not safety.reset(stop_id=seen)[0]
    for _ in range(3):
        command, report = safety.tick()
        assert report.mode is SafetyMode.ESTOP
        assert command.q_rad == HOME


RANDOM_TICKS = 4_000
"""32,000 were run once."""


def test_a_real_arm_moves_only_while_it_is_reset_and_started() -> None:
    """Stops, resets, starts, repeats and old ones of each, beside targets and silences; commands keep the limits."""
    dice, safety = random.Random(0), Clocked()
    latch = safety.core.latch = EstopLatch(is_real=True, boot_id="a")
    may_move, old, moved, starts = False, list[EstopCommand](), 0, 0
    pieces: list[list[tuple[float, ...]]] = [[]]
    q = HOME
    for seq in range(RANDOM_TICKS // 4):
        stop_id = latch.state().stop_id
        command: EstopCommand | None = None
        match dice.choices(("target", "stop", "reset", "start", "old", "none"), (60, 3, 9, 9, 9, 10))[0]:
            case "target":
                goal = tuple(each + dice.gauss(0.0, 0.3) for each in HOME)
                safety.core.take_target(target(seq, safety.now_s, goal))
            case "stop":
                command, may_move = stop(request_id=str(seq)), False
            case "reset":
                command = reset_of(latch)
            case "start":
                command = StartCommand(who="ann", stop_id=stop_id)
                if not latch.is_set:
                    may_move = True
            case "old" if old:
                command = dice.choice(old)
                if isinstance(command, StopCommand):
                    may_move = may_move and command.request_id in latch._record.request_ids and latch.is_set
                elif isinstance(command, StartCommand) and command.stop_id == stop_id and not latch.is_set:
                    may_move = True
        if command is not None:
            safety.core.apply_command(command, safety.now_s)
            old = [*old[-50:], command]
        assert may_move or latch.blocks
        for _ in range(4):
            joint_command, report = safety.tick(alive=dice.random() > 0.02, q_rad=q)
            if latch.blocks:
                assert joint_command is None or not any(joint_command.dq_rad_s)
                assert report.mode in (SafetyMode.ESTOP, SafetyMode.START_REQUIRED)
                pieces.append([])
            elif joint_command is not None:
                moved += joint_command.q_rad != q
                q = joint_command.q_rad
                pieces[-1].append(q)
        starts += may_move
    assert moved > RANDOM_TICKS / 100 and starts > RANDOM_TICKS / 100
    assert max(worst_violation(np.array(piece)) for piece in pieces if len(piece) > 2) <= 0.0
