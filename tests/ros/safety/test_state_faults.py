"""Faulty robot states at the real safety node, over DDS: the arm stands, and each fault is named where people look."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from floop_interfaces import msg
from floop_robot.robot.messages import Joints
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import COMMAND, EVENTS, LATCHED, SENSOR
from floop_robot.ros.node.stamps import header
from floop_robot.spec.robot_model import load_robot
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, RobotRig
from tests.support.ros.safety_rig import ALL, name

MODEL = load_robot("panda")
NAMES, HOME, LIMITS = list(MODEL.joint_names), MODEL.home_rad, MODEL.limits
PERIOD_S = 0.02
FAULT_S = 0.6
STANDS_BY_S = 0.35
"""By then an arm stands whose states went bad: 0.1 s until they are stale, 0.1 to brake, the rest for a busy host."""
WIDTH_M = MODEL.gripper.max_width_m
Fault = Callable[[JointState, int], None]


class FaultyArm:
    """A driver whose arm is where it was last commanded to be, a policy that swings it, and what safety does."""

    def __init__(self, folder: Any, domain: int) -> None:
        self.rig, self.peer = RobotRig(folder / "run", domain), Peer(domain)
        node = self.peer.node
        self.status = self.peer.listen(msg.SafetyStatus, name(topics.SAFETY_STATUS), ALL)
        self.health = self.peer.listen(DiagnosticArray, topics.DIAGNOSTICS, EVENTS)
        self.commands: list[tuple[float, Joints]] = []
        commands_topic = name("joint_trajectory_controller/joint_trajectory")
        node.create_subscription(JointTrajectory, commands_topic, self._follow, ALL)
        self._joints = node.create_publisher(JointState, name(topics.JOINT_STATES), SENSOR)
        self._gripper = node.create_publisher(msg.GripperState, name(topics.GRIPPER_STATE), SENSOR)
        self._targets = node.create_publisher(msg.JointTarget, name(topics.JOINT_TARGET), COMMAND)
        episode = node.create_publisher(msg.EpisodeState, name(topics.DRIVER_EPISODE), LATCHED)
        episode.publish(msg.EpisodeState(header=header(), robot=ROBOT, episode=1, phase=msg.EpisodeState.PHASE_READY))
        self.q: Joints = HOME
        self.fault: Fault | None = None
        self.width_m: float | None = WIDTH_M
        self.is_silent = False
        self._stop, self._n = threading.Event(), 0
        self.rig.start("safety_node", "simulated:=true")
        self._thread = threading.Thread(target=self._drive, name="faulty arm")
        self._thread.start()

    def _follow(self, m: JointTrajectory) -> None:
        self.q = tuple(m.points[0].positions)
        self.commands.append((time.monotonic(), self.q))

    def _drive(self) -> None:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            due_s = max(due_s + PERIOD_S, time.monotonic())
            self._n += 1
            if not self.is_silent:
                self._publish()
            if self._n % 4 == 0:
                q = [x + 0.15 * math.sin(self._n * PERIOD_S * 4.0) for x in HOME]
                self._targets.publish(
                    msg.JointTarget(
                        header=header(), q_rad=q, gripper_width_m=WIDTH_M, gripper_force_n=20.0, seq=self._n,
                        mono_s=time.monotonic(), episode=1,
                    )
                )  # fmt: skip

    def _publish(self) -> None:
        if self.width_m is not None:
            self._gripper.publish(msg.GripperState(header=header(), width_m=self.width_m, effort_n=0.5))
        zeros = [0.0] * len(NAMES)
        state = JointState(header=header(), name=NAMES, position=list(self.q), velocity=zeros, effort=zeros)
        if (fault := self.fault) is not None:
            fault(state, self._n)
        self._joints.publish(state)

    @property
    def newest(self) -> Any:
        return self.status[-1] if self.status else msg.SafetyStatus()

    def wait_following(self) -> None:
        start = len(self.status)
        wait_for(
            lambda: len(self.status) > start + 5 and all(s.mode == "following" for s in self.status[-5:]), 20.0,
            "an arm that follows",
        )  # fmt: skip

    def values(self) -> dict[str, str]:
        """The newest of the node's diagnostics about robot states."""
        for array in reversed(self.health[-5:]):
            for status in array.status:
                if status.name.endswith("safety_node: robot state"):
                    return {v.key: v.value for v in status.values} | {"message": status.message}
        return {}

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.rig.close()
        self.peer.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyArm]:
    with reserved_domain() as domain:
        arm = FaultyArm(tmp_path_factory.mktemp("arm"), domain)
        yield arm
        arm.close()


@pytest.fixture
def arm(shared: FaultyArm) -> FaultyArm:
    """Whatever the last test did, it is well and follows."""
    shared.fault, shared.width_m, shared.is_silent = None, WIDTH_M, False
    shared.wait_following()
    return shared


def every(change: Callable[[list[float]], Any]) -> Fault:
    """A fault of the positions; `change` works in place or returns others."""

    def fault(state: JointState, _: int) -> None:
        q = list(state.position)
        state.position = change(q) or q

    return fault


def put(joint: int, value: float) -> Fault:
    return every(lambda q: q.__setitem__(joint, value))


def now_and_then(change: Fault, period: int = 4) -> Fault:
    def fault(state: JointState, n: int) -> None:
        if n % period < 2:
            change(state, n)

    return fault


def fields(**changes: Callable[[Any], Any]) -> Fault:
    def fault(state: JointState, _: int) -> None:
        for field, change in changes.items():
            setattr(state, field, change(getattr(state, field)))

    return fault


def stamp(sec: Callable[[int], int]) -> Fault:
    def fault(state: JointState, _: int) -> None:
        state.header.stamp.sec = sec(state.header.stamp.sec)

    return fault


def frozen_stamp() -> Fault:
    first: list[Any] = []

    def fault(state: JointState, _: int) -> None:
        first.append(state.header.stamp)
        state.header.stamp = first[0]

    return fault


def back_stamp() -> Fault:
    def fault(state: JointState, n: int) -> None:
        state.header.stamp.sec -= n

    return fault


def unset_stamp(state: JointState, _: int) -> None:
    state.header.stamp.sec = state.header.stamp.nanosec = 0


def shifted(by: float, joint: int) -> Fault:
    return every(lambda q: q.__setitem__(joint, q[joint] + by))


J2, J4 = NAMES[1], NAMES[3]
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "degrees": (every(lambda q: [math.degrees(x) for x in q]), ("range", "panda_joint", "its range is", "degrees")),
    "a tenth of a degree": (every(lambda q: [573.0 * x for x in q]), ("range", "panda_joint")),
    "a joint in degrees": (put(3, -140.8), ("range", J4, "-140.8 rad", "-3.0518 to -0.0898")),
    "a wrong sign": (every(lambda q: q.__setitem__(3, -q[3])), ("range", J4, "-3.0518 to -0.0898")),
    "above the range": (put(1, 1.7428 + 0.15), ("range", J2, "1.8928")),
    "below the range": (put(1, -1.7428 - 0.15), ("range", J2, "-1.8928")),
    "a turn too far": (shifted(math.tau, 0), ("range", NAMES[0], "-2.8773 to 2.8773")),
    "ticks of an encoder": (every(lambda q: [4096.0 * x for x in q]), ("range", "panda_joint")),
    "huge": (put(2, 1e300), ("range", NAMES[2], "1e+300")),
    "NaN": (put(3, math.nan), ("nonfinite", J4, "nan")),
    "all NaN": (every(lambda q: [math.nan] * 7), ("nonfinite", NAMES[0])),
    "infinite": (put(5, math.inf), ("nonfinite", NAMES[5], "inf")),
    "minus infinite": (put(5, -math.inf), ("nonfinite", NAMES[5], "-inf")),
    "zeros in the midst of work": (every(lambda q: [0.0] * 7), ("jump", "jumps to 0 rad")),
    "jumps": (now_and_then(shifted(0.6, 0)), ("jump", NAMES[0], "its range from where it was")),
    "two drivers": (now_and_then(shifted(-0.5, 1), 3), ("jump", J2)),
    "stamps unset": (unset_stamp, ("stamp_unset", "header.stamp is 0")),
    "stamps that repeat": (frozen_stamp(), ("stamp_repeats",)),
    "stamps that run backwards": (back_stamp(), ("stamp_backwards",)),
    "stamps an hour ahead": (stamp(lambda s: s + 3600), ("stamp_future", "3.6e+03 s ahead")),
    "stamps of another century": (stamp(lambda s: 2**31 - 1), ("stamp_future",)),
    "a name twice": (
        fields(name=lambda n: [*n, J2], position=lambda q: [*q, 0.0], velocity=lambda v: [], effort=lambda e: []),
        ("names_twice", J2),
    ),
    "a joint renamed": (fields(name=lambda n: [*n[:3], "panda_joint_4", *n[4:]]), ("missing_joints", J4)),
    "a joint less": (
        fields(name=lambda n: n[:6], position=lambda q: q[:6], velocity=lambda v: [], effort=lambda e: []),
        ("missing_joints", NAMES[6]),
    ),
    "positions too few": (fields(position=lambda q: q[:5]), ("lengths", "position has 5 values")),
    "no positions": (fields(position=lambda q: []), ("lengths", "position has 0 values")),
    "velocities too few": (fields(velocity=lambda v: v[:3]), ("lengths", "velocity has 3 values")),
    "efforts too many": (fields(effort=lambda e: [*e, 1.0]), ("lengths", "effort has 8 values")),
    "velocities in degrees": (fields(velocity=lambda v: [0.0, 57.3, *v[2:]]), ("speed", J2, "57.3 rad/s")),
    "velocity infinite": (fields(velocity=lambda v: [math.inf, *v[1:]]), ("speed", NAMES[0])),
}


def stands(arm: FaultyArm, since_s: float) -> None:
    """All commands were within the limits, and none moved the arm once it had stood."""
    q = np.array([q for at_s, q in arm.commands if at_s > since_s - 0.2])
    assert (q >= np.array(LIMITS.position_lower_rad)).all() and (q <= np.array(LIMITS.position_upper_rad)).all()
    assert (np.abs(np.diff(q, axis=0)) <= np.array(LIMITS.velocity_rad_s) * PERIOD_S + 1e-9).all()
    later = [q for at_s, q in arm.commands if at_s > since_s + STANDS_BY_S]
    assert sum(a != b for a, b in pairwise(later)) == 0


@pytest.mark.parametrize("what", FAULTS)
def test_an_arm_whose_state_cannot_be_true_stands_and_says_why(arm: FaultyArm, what: str) -> None:
    fault, words = FAULTS[what]
    since_s = time.monotonic()
    arm.fault = fault
    heard = len(arm.status)
    wait_for(lambda: time.monotonic() - since_s > FAULT_S)
    texts = {s.fault for s in arm.status[heard:]}
    assert any(all(word in text for word in (*words, "so far]")) for text in texts), texts
    if what not in ("jumps", "two drivers"):  # of these, what is between is true
        assert arm.newest.mode == "stopping"
        stands(arm, since_s)
    arm.fault = None
    arm.wait_following()
    assert arm.newest.fault == ""
    stands_within = np.array([q for at_s, q in arm.commands if at_s > since_s])
    assert (np.abs(np.diff(stands_within, axis=0)) <= np.array(LIMITS.velocity_rad_s) * PERIOD_S + 1e-9).all()


@pytest.mark.parametrize(
    ("width_m", "words"),
    [(80.0, ("gripper width is 80 m", "0 to 0.08 m")), (math.nan, ("nan m",)), (-1.0, ("-1 m",)), (None, ("silent",))],
)
def test_a_gripper_that_cannot_be_there_is_named(arm: FaultyArm, width_m: float | None, words: tuple[str, ...]) -> None:
    arm.width_m = width_m
    wait_for(lambda: all(word in arm.newest.fault for word in ("gripper", *words)), 5.0, arm.newest.fault)
    wait_for(lambda: arm.newest.mode == "stopping")
    arm.width_m = WIDTH_M
    arm.wait_following()


def test_zeros_after_a_silence_wait_for_motion_or_a_person(arm: FaultyArm) -> None:
    assert not arm.peer.call(Trigger, name(topics.CONFIRM_JOINT_STATES), Trigger.Request()).success
    arm.is_silent = True
    wait_for(lambda: arm.newest.mode == "stopping")
    silent_s = time.monotonic()
    wait_for(lambda: time.monotonic() - silent_s > 1.1)
    # A pose within the ranges' tolerance is nothing but zeros where a range has none: the Panda's joint 4.
    arm.fault, arm.is_silent = every(lambda q: [0.0] * 7), False
    wait_for(lambda: "(all_zero)" in arm.newest.fault)
    commands = len(arm.commands)
    wait_for(lambda: "confirm_joint_states" in arm.values().get("message", ""), 5.0)
    assert int(arm.values()["all_zero"]) > 0
    assert len({q for _, q in arm.commands[commands:]}) <= 1  # it stands where it stood
    answer = arm.peer.call(Trigger, name(topics.CONFIRM_JOINT_STATES), Trigger.Request())
    assert answer.success, answer.message
    wait_for(lambda: arm.newest.fault == "")
    arm.fault = None
    arm.q = HOME
    wait_for(lambda: not arm.newest.fault)


def test_an_arm_that_was_moved_is_followed_from_where_it_is(arm: FaultyArm) -> None:
    moved = tuple(q + 0.6 for q in HOME)  # by hand, while its own controller ignores what is commanded
    heard, since_s = len(arm.commands), time.monotonic()

    def there() -> list[float]:
        return [at for at, q in arm.commands[heard:] if max(abs(a - b) for a, b in zip(q, moved, strict=True)) < 0.05]

    arm.fault = every(lambda q: list(moved))
    at_s = wait_for(there)[0]
    assert at_s - since_s >= 0.15  # it has to agree with itself first
    arm.fault = None
    arm.wait_following()
    assert not arm.newest.estop


def test_counts_are_on_diagnostics(arm: FaultyArm) -> None:
    wait_for(lambda: arm.values().get("message") == "believed", 5.0)
    values = arm.values()
    assert int(values["unusable"]) >= int(values["range"])
    assert int(values["believed"]) > 0 and "robot state unusable" in values["last_fault"]
