"""One robot's simulated driver and safety node with a policy that swings, and everything safety says and commands."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from floop_interfaces import msg, srv
from floop_robot.robot.estop_socket import ask_robot
from floop_robot.robot.messages import Joints, StopCommand
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED
from floop_robot.ros.node.stamps import from_time
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, NodeProcess, RobotRig
from tests.support.waiting import wait_for

HERE = Path(__file__).parent
ALL = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
UP_S = 20.0
STANDS_RAD_S = 1e-3
WAYS = ("service", "trigger", "topic", "fleet topic", "no ROS")
"""How a robot is stopped."""


class Tick(msgspec.Struct, frozen=True):
    """One servo tick as safety reported it."""

    time_s: float
    """Wall clock of the host, made in the tick."""
    mode: str
    cause: str
    q_rad: Joints
    fault: str
    nonfinite: int
    target_seq: int


class SwingingPolicyProcess:
    """The process that swings the arm; ends with its standard input."""

    def __init__(self, domain: int, log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "swinging_policy.py"), "--ros-args", "-r", f"__ns:=/{ROBOT}"],
                env=os.environ | {"ROS_DOMAIN_ID": str(domain)},
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
            )

    def say(self, line: str) -> None:
        """A line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def spin(self, seconds: float) -> float:
        """Have it hold the interpreter lock; the wall-clock time when that began."""
        lines = len(self.log.read_text().splitlines())
        self.say(f"spin {seconds}")
        return float(wait_for(lambda: self.log.read_text().splitlines()[lines:])[0])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


class SafetyRig:
    """The processes and what was heard; use as a context manager."""

    def __init__(self, folder: Path, domain: int, **rig: Any) -> None:
        self.domain, self.rig = domain, RobotRig(folder / "run", domain, **rig)
        self.peer = Peer(domain)
        self.ticks: list[Tick] = []
        self.peer.node.create_subscription(msg.SafetyStatus, name(topics.SAFETY_STATUS), self._take, ALL)
        self.latches = self.peer.listen(msg.EstopState, name(topics.ESTOP_STATE), LATCHED)
        self.joints = self.peer.listen(JointState, name("joint_states"), ALL)
        self.commands = self.peer.listen(JointTrajectory, name("joint_trajectory_controller/joint_trajectory"), ALL)
        self._buttons = {
            "topic": self.peer.node.create_publisher(Bool, name(topics.ESTOP), EVENTS),
            "fleet topic": self.peer.node.create_publisher(Bool, topics.FLEET_ESTOP, EVENTS),
        }
        self.rig.start_arm()
        self.policy = self.swinger()

    def _take(self, m: Any) -> None:
        self.ticks.append(
            Tick(
                from_time(m.header.stamp) * 1e-9, m.mode, m.cause, tuple(m.q_rad), m.fault, m.interventions.nonfinite,
                m.target_seq,
            )
        )  # fmt: skip

    @property
    def driver(self) -> NodeProcess:
        """The simulated arm."""
        return self.rig.nodes["sim_robot_node"]

    @property
    def safety(self) -> NodeProcess:
        """The safety node."""
        return self.rig.nodes["safety_node"]

    def swinger(self) -> SwingingPolicyProcess:
        """Another policy that waits for `go`."""
        return SwingingPolicyProcess(self.domain, self.rig.run_dir / "policy.log")

    def start(self, episode: int = 1) -> None:
        """Lay out an episode and let the policy swing."""
        self.policy.say("go")
        self.reset(episode)
        self.wait_following()

    def reset(self, episode: int) -> Any:
        """Have the driver lay out an episode; its answer."""
        return self.ask(srv.ResetEpisode, topics.RESET_EPISODE, srv.ResetEpisode.Request(episode=episode))

    def ask(self, kind: Any, topic: str, request: Any) -> Any:
        """Call a service again and again until it answers: what a killed server left behind swallows calls."""
        deadline = time.monotonic() + UP_S
        while True:
            future = self.peer.send(kind, name(topic), request)
            try:
                return self.peer.result(future, 2.0)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def wait_following(self, count: int = 15) -> None:
        """Until the last `count` ticks all followed the policy."""
        start = len(self.ticks)

        def follows() -> bool:
            new = self.ticks[start:]
            return len(new) >= count and all(t.mode == "following" for t in new[-count:])

        wait_for(follows, UP_S)

    def wait_at_rest(self, count: int = 5) -> None:
        """Until the last `count` states of the arm show no motion."""
        start = len(self.joints)

        def rests() -> bool:
            new = self.joints[start:]
            return len(new) >= count and all(max(map(abs, s.velocity)) < STANDS_RAD_S for s in new[-count:])

        wait_for(rests, UP_S, "an arm at rest")

    def first(self, since_s: float, timeout_s: float = 3.0, **wanted: Any) -> Tick:
        """The first tick after wall-clock `since_s` with these fields, waiting for it."""
        found: list[Tick] = []

        def look() -> bool:
            recent = (t for t in self.ticks[-400:] if t.time_s >= since_s)
            found.extend(t for t in recent if all(getattr(t, k) == v for k, v in wanted.items()))
            return bool(found)

        wait_for(look, timeout_s)
        return found[0]

    def stands(self, since_s: float, timeout_s: float = 3.0) -> Tick:
        """The first tick after `since_s` from which on ten ticks commanded the same position."""

        def still() -> Tick | None:
            recent = [t for t in self.ticks[-400:] if t.time_s >= since_s]
            for i in range(len(recent) - 10):
                if len({t.q_rad for t in recent[i : i + 10]}) == 1:
                    return recent[i]
            return None

        wait_for(lambda: still() is not None, timeout_s)
        found = still()
        assert found is not None
        return found

    def stop_by(self, way: str, who: str = "ann") -> float:
        """E-stop by one of `WAYS`; the wall-clock time just before."""
        now_s = time.time()
        if way == "service":
            self.stop(who)
        elif way == "trigger":
            self.ask(Trigger, topics.ESTOP_TRIGGER, Trigger.Request())
        elif way == "no ROS":
            ask_robot(self.rig.run_dir, ROBOT, StopCommand(who=who, why="test"))
        else:
            self.press(way)
        return now_s

    def press(self, way: str, is_pressed: bool = True) -> None:
        """Say on a Bool topic whether its button is pressed."""
        wait_for(lambda: self._buttons[way].get_subscription_count() >= 2, UP_S, "safety to hear the button")
        self._buttons[way].publish(Bool(data=is_pressed))

    def stop(self, who: str = "ann", request_id: str = "") -> Any:
        """Call `stop`."""
        request = srv.StopRobot.Request(who=who, why="test", request_id=request_id)
        return self.ask(srv.StopRobot, topics.STOP, request)

    @property
    def latch(self) -> Any:
        """The newest `estop_state`."""
        return wait_for(lambda: self.latches)[-1]

    def reset_estop(self, **changes: str) -> Any:
        """Call `reset_estop` for the stop that was published last."""
        given = {"stop_id": self.latch.stop_id, "nonce": self.latch.nonce, "who": "ann", "why": "test"}
        return self.ask(srv.ResetEstop, topics.RESET_ESTOP, srv.ResetEstop.Request(**(given | changes)))

    def open_latch(self) -> None:
        """Release the buttons and reset, until neither the latch nor a tick says stop; a fault is forgotten, too.

        A tick may tell of a stop before the latch's topic does, and the other way round.
        """
        if self.ticks and self.ticks[-1].fault and self.ticks[-1].mode != "estop":
            stop_id = self.stop().state.stop_id
            wait_for(lambda: self.latch.stop_id == stop_id, UP_S, "the latch of this stop")

        def is_open() -> bool:
            latch = self.latch
            for way in self._buttons if latch.hardware_stop else ():
                self.press(way, False)
            if latch.latched and not latch.hardware_stop:
                self.reset_estop()
            says_stop = latch.latched or latch.hardware_stop
            return not says_stop and not (self.ticks and self.ticks[-1].mode == "estop")

        wait_for(is_open, UP_S, "an open latch")

    def restart(self, module: str, *, kindly: bool = False) -> None:
        """End a node, by kill -9 unless `kindly`, and start it again."""
        process = self.rig.nodes[module]
        if kindly:
            process.end()
        else:
            process.kill()
        self.rig.start_again(module)

    def __enter__(self) -> SafetyRig:
        return self

    def __exit__(self, *_: object) -> None:
        self.policy.kill()
        self.rig.close()
        self.peer.close()


def name(topic: str) -> str:
    """The topic of the one robot."""
    return f"/{ROBOT}/{topic}"
