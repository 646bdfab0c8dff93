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
from trajectory_msgs.msg import JointTrajectory

from floop_interfaces import msg, srv
from floop_robot.robot.messages import Joints
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
        self._stops = {
            "topic": self.peer.node.create_publisher(msg.StopRequest, name(topics.ESTOP), EVENTS),
            "fleet topic": self.peer.node.create_publisher(msg.StopRequest, topics.FLEET_ESTOP, EVENTS),
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
        """E-stop by `topic`, `fleet topic` or `service`; the wall-clock time just before."""
        now_s = time.time()
        if way == "service":
            self.set_estop(True, who=who)
        else:
            self._stops[way].publish(msg.StopRequest(who=who, why="test"))
        return now_s

    def set_estop(self, stop: bool, who: str = "ann", token: str = "", call_id: str = "", seal: int = 0) -> Any:
        """Call the service."""
        request = srv.SetEstop.Request(stop=stop, who=who, why="test", token=token, call_id=call_id, seal=seal)
        return self.ask(srv.SetEstop, topics.SET_ESTOP, request)

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
