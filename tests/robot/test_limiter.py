"""The limiter against everything: whatever is asked for, the commanded sequence stays inside the limits."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.robot.controller import ArmController
from floop_robot.robot.kinematics import tool_down
from floop_robot.robot.limiter import SafetyLimiter, ticks_of
from floop_robot.robot.messages import Cause
from floop_robot.spec.task import TaskSpec
from tests.support.limit_violations import KINEMATICS, MODEL, RATE_HZ, worst_violation

Target = tuple[float, ...]


def drive(targets: Iterable[Target], limiter: SafetyLimiter | None = None) -> np.ndarray:
    limiter = limiter or SafetyLimiter(MODEL, RATE_HZ)
    start = limiter.q  # standing still: two equal positions before the first command
    return np.array([start, start, *(limiter.step(t).q for t in targets)])


NASTY = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e-308, 0.0, 1e6, -1e6)


def adversary(kind: str, n: int, seed: int) -> Iterable[Target]:
    """Targets chosen to hurt: jumps, reversals at every tick, walls, garbage, whole-arm swings, slow drifts."""
    rng = np.random.default_rng(seed)
    low, high = np.array(MODEL.limits.position_lower_rad), np.array(MODEL.limits.position_upper_rad)
    q = np.array(MODEL.home_rad)
    for i in range(n):
        match kind:
            case "jumps":
                q = rng.uniform(low, high) if rng.random() < 0.2 else q
            case "beyond":
                q = rng.uniform(low * 3 - 1, high * 3 + 1) if rng.random() < 0.05 else q
            case "reversals":
                q = np.where(rng.random(7) < 0.5, low, high) if i % rng.integers(1, 8) == 0 else q
            case "drift":
                q = q + rng.normal(scale=0.05, size=7)
            case "near":
                q = np.array(MODEL.home_rad) + rng.normal(scale=0.3, size=7)
            case "garbage":
                q = rng.uniform(low, high)
                if rng.random() < 0.3:
                    q[rng.integers(7)] = NASTY[rng.integers(len(NASTY))]
        yield tuple(q.tolist())


KINDS = ("jumps", "beyond", "reversals", "drift", "near", "garbage")


@pytest.mark.parametrize("kind", KINDS)
def test_no_target_sequence_makes_it_leave_the_limits(kind: str) -> None:
    assert worst_violation(drive(adversary(kind, 3_000, seed=1))) <= 0.0


@pytest.mark.slow
def test_three_hundred_thousand_adversarial_targets() -> None:
    for kind in KINDS:
        for seed in range(10):
            assert worst_violation(drive(adversary(kind, 5_000, seed))) <= 0.0, (kind, seed)


def cartesian_adversary(spec: TaskSpec, n: int, seed: int) -> Iterable[Target]:
    """Legal-looking Cartesian targets on and beyond the walls of the box, where the workspace check has to work."""
    rng = np.random.default_rng(seed)
    controller = ArmController(MODEL, spec)
    q: Target = MODEL.home_rad
    action = np.zeros(5, np.float32)
    for i in range(n):
        if i % 4 == 0:
            if rng.random() < 0.2:
                action = rng.choice([-1.0, 0.0, 1.0], size=5).astype(np.float32)
            q = controller.command(action, q).q_rad
        yield tuple((np.array(q) + rng.normal(scale=0.01, size=7)).tolist())


def test_it_stays_in_the_box_along_its_walls(spec: TaskSpec) -> None:
    for seed in range(4):
        assert worst_violation(drive(cartesian_adversary(spec, 1_500, seed))) <= 0.0


joints = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=7, max_size=7)
near = st.lists(st.floats(-4, 4), min_size=7, max_size=7)
steps = st.lists(st.tuples(st.one_of(near, joints), st.integers(1, 12), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_mixed_with_stops_it_stays_inside(script: list[tuple[list[float], int, bool]]) -> None:
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    commands = [limiter.q, limiter.q]
    for target, ticks, stop in script:
        for _ in range(ticks):
            command = limiter.stop(Cause.ESTOP) if stop else limiter.step(target)
            commands.append(command.q)
    assert worst_violation(np.array(commands)) <= 0.0


@pytest.mark.parametrize(
    ("servo_hz", "policy_hz", "ticks"),
    [(50, 12.5, 4), (50, 20, 3), (60, 12.5, 5), (50, 40, 2), (50, 50, 1), (12.5, 12.5, 1), (50, 100, 1),
     (3 * 0.1, 0.1, 3), (125, 12.5, 10), (500, 12.5, 40), (1000, 3.0, 334)],
)  # fmt: skip
def test_a_target_lasts_until_the_next_is_due(servo_hz: float, policy_hz: float, ticks: int) -> None:
    assert ticks_of(servo_hz, policy_hz) == ticks


@pytest.mark.parametrize("rate_hz", [25.0, 40.0, 50.0, 100.0, 1000.0])
def test_other_servo_rates_hold_as_well(rate_hz: float) -> None:
    limiter = SafetyLimiter(MODEL, rate_hz, ticks_per_target=ticks_of(rate_hz, 12.5))
    commands = drive(adversary("jumps", 1_000, seed=3), limiter)
    assert worst_violation(commands, rate_hz=rate_hz) <= 1e-8 * rate_hz


def test_nan_holds_and_is_counted() -> None:
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    commands = [limiter.step((math.nan,) * 7) for _ in range(5)]
    assert {c.cause for c in commands} == {Cause.NONFINITE}
    assert {c.q for c in commands} == {tuple(MODEL.home_rad)}
    assert limiter.step((0.0,) * 3).cause is Cause.NONFINITE


def test_nan_in_full_flight_brakes_to_a_stand() -> None:
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    away = tuple(x + 0.5 for x in MODEL.home_rad)
    for _ in range(8):
        limiter.step(away)
    commands = [limiter.step((math.nan,) * 7) for _ in range(30)]
    speeds = [max(map(abs, c.dq)) for c in commands]
    assert speeds[0] > 0.3
    assert speeds == sorted(speeds, reverse=True)
    assert speeds[-1] == 0.0


def test_a_target_far_away_is_followed_slower_and_counted() -> None:
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    far = (MODEL.home_rad[0] + 0.8, *MODEL.home_rad[1:])
    commands = [limiter.step(far) for _ in range(120)]
    assert commands[0].cause is Cause.VELOCITY
    assert commands[-1].cause is Cause.NONE
    assert commands[-1].q == pytest.approx(far)
    assert max(c.dq[0] for c in commands) > 0.9 * MODEL.limits.velocity_rad_s[0]


def test_a_target_out_of_range_is_clipped_and_counted() -> None:
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    beyond = (*MODEL.home_rad[:6], 3.5)
    commands = [limiter.step(beyond) for _ in range(200)]
    assert commands[-1].cause is Cause.POSITION
    assert commands[-1].q[6] == pytest.approx(MODEL.limits.position_upper_rad[6], abs=1e-6)


def test_a_target_below_the_table_stops_at_the_table() -> None:
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    found = KINEMATICS.solve(tool_down((0.45, 0.0, -0.05), 0.0), MODEL.home_rad, iterations=60)
    assert found.ok
    commands = [limiter.step(found.q) for _ in range(200)]
    assert commands[-1].cause is Cause.WORKSPACE
    height = KINEMATICS.position(commands[-1].q)[2]
    assert MODEL.limits.workspace_low_m[2] <= height < MODEL.limits.workspace_low_m[2] + 0.01
    assert max(map(abs, commands[-1].dq)) < 1e-3


@pytest.mark.parametrize(("speed", "most"), [(0.6, 0), (1.0, 2)])
def test_ordinary_motion_is_hardly_changed(spec: TaskSpec, speed: float, most: int) -> None:
    """Straight moves up to the walls of the box; only the elbow, far out at full speed, is asked for too much."""
    limiter, controller = SafetyLimiter(MODEL, RATE_HZ), ArmController(MODEL, spec)
    for axis, sign in ((2, -1), (2, 1), (1, 1), (1, -1), (0, 1), (0, -1), (3, 1), (3, -1)):
        limiter.reset(MODEL.home_rad)
        controller.reset(MODEL.home_rad)
        action = np.zeros(5, np.float32)
        action[axis] = sign * speed
        touched = 0
        for _ in range(40):
            target = controller.command(action, limiter.q)
            touched += sum(limiter.step(target.q_rad).intervened for _ in range(4))
        assert touched <= most, (axis, sign)


def test_the_tcp_goes_straight(spec: TaskSpec) -> None:
    limiter, controller = SafetyLimiter(MODEL, RATE_HZ), ArmController(MODEL, spec)
    action = np.array([0.0, 0.0, -1.0, 0.0, 0.0], np.float32)
    for _ in range(12):
        target = controller.command(action, limiter.q)
        for _ in range(4):
            x, y, _ = KINEMATICS.position(limiter.step(target.q_rad).q)
            assert math.hypot(x - 0.45, y) < 4e-3
    assert KINEMATICS.position(limiter.q)[2] < 0.02


def test_an_arm_that_starts_outside_may_come_back_but_not_go_further() -> None:
    outside = KINEMATICS.solve(tool_down((0.45, 0.0, -0.02), 0.0), MODEL.home_rad, iterations=60).q
    start = KINEMATICS.position(outside)[2]
    limiter = SafetyLimiter(MODEL, RATE_HZ)
    limiter.reset(outside)
    deeper = KINEMATICS.solve(tool_down((0.45, 0.0, -0.05), 0.0), outside, iterations=60).q
    heights = [KINEMATICS.position(limiter.step(deeper).q)[2] for _ in range(60)]
    assert min(heights) >= start - 1e-9
    heights = [KINEMATICS.position(limiter.step(MODEL.home_rad).q)[2] for _ in range(150)]
    assert heights[-1] == pytest.approx(0.28, abs=1e-3)
    heights = [KINEMATICS.position(limiter.step(deeper).q)[2] for _ in range(200)]
    assert min(heights) >= MODEL.limits.workspace_low_m[2]


def test_an_arm_that_starts_in_motion_stays_inside() -> None:
    speeds = tuple(0.9 * v for v in MODEL.limits.velocity_rad_s)
    for seed in range(10):
        limiter = SafetyLimiter(MODEL, RATE_HZ)
        limiter.reset(MODEL.home_rad, speeds)
        before = tuple(q - v / RATE_HZ for q, v in zip(MODEL.home_rad, speeds, strict=True))
        targets = adversary("jumps", 200, seed)
        commands = np.array([before, MODEL.home_rad, *(limiter.step(t).q for t in targets)])
        assert worst_violation(commands[1:]) <= 1e-9
        assert (np.abs(np.diff(commands, n=2, axis=0)) * RATE_HZ**2 <= MODEL.limits.acceleration_rad_s2).all()


def test_same_targets_give_the_same_commands_to_the_bit() -> None:
    runs = [drive(adversary("jumps", 500, seed=7)) for _ in range(2)]
    assert (runs[0] == runs[1]).all()
