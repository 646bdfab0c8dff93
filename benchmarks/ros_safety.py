"""Safety over ROS 2 as it is measured from outside: freezes of a policy, emergency stops, and what opens the latch.

    python benchmarks/ros_safety.py freezes --kind stop --count 200    (kinds: stop, spin, kill)
    python benchmarks/ros_safety.py stops --count 100
    python benchmarks/ros_safety.py latch --deed restart --count 100   (deeds: restart, push, rollback, activate)

`freezes`: a policy process that keeps the arm swinging is stopped by SIGSTOP, by C code that never lets go of the
interpreter lock, or by kill -9, at a random moment; the time until safety's first servo tick that is not `following`.
`stops`: from the request (topic, fleet topic, service in turn) to the first servo tick that commands the position of
the tick before, while the arm swings.
`latch`: a robot at work (simulated arm, safety, policy, fleet manager) is stopped, then the deed is done again and
again; how often anything moved. Times are wall-clock stamps of one host, made in the servo tick itself.
Needs `make setup-ros`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ros"))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"

from cell import ALL, Cell, name
from conditions import wait_for
from isolation import reserved_domain
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from peer import Peer
from robot_rig import NodeProcess, RobotRig
from sensor_msgs.msg import JointState

from floop_interfaces import msg, srv
from floop_robot.nodes import topics
from floop_robot.nodes.qos import LATCHED

HOLD_BAR_S, STOP_BAR_S = 0.1, 0.05
POLICY_PERIOD_S = 0.08
SWINGS_AGAIN = 8
"""Ticks of following after which the arm counts as swinging again."""
MOTION_RAD = 1e-3
"""Joints that moved by less stand: the simulated arm sags by a tenth of that under load."""


@contextlib.contextmanager
def swinging() -> Iterator[Cell]:
    """A robot whose arm swings."""
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder, Cell(Path(folder), domain) as cell:
        cell.start()
        yield cell


def freezes(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Times from the freeze to the hold, s."""
    dice, held = random.Random(seed), []
    with swinging() as cell:
        successor = cell.swinger() if kind == "kill" else None
        for _ in range(count):
            time.sleep(dice.uniform(0.0, POLICY_PERIOD_S))  # at any moment of its period
            frozen_s = time.time()
            if kind == "spin":
                cell.policy.say("spin 0.3")
            else:
                os.kill(cell.policy.process.pid, signal.SIGSTOP if kind == "stop" else signal.SIGKILL)
            held.append(hold_after(cell, frozen_s) - frozen_s)
            if kind == "stop":
                os.kill(cell.policy.process.pid, signal.SIGCONT)
            elif successor is not None:
                cell.policy.kill()
                cell.policy, successor = successor, cell.swinger()
                cell.policy.say("go")
            cell.wait_following(SWINGS_AGAIN)
        if successor is not None:
            successor.kill()
    return {"what": f"freeze by {kind}: until hold commanded", **figures(held, HOLD_BAR_S)}


def hold_after(cell: Cell, since_s: float) -> float:
    """When safety no longer followed, after `since_s`."""

    def look() -> float:
        return next((t.time_s for t in cell.ticks[-100:] if t.time_s >= since_s and t.mode != "following"), 0.0)

    return wait_for(look)


def stops(count: int, seed: int) -> dict[str, Any]:
    """Times from the request to the first tick of zero commanded velocity, s."""
    dice, stopped = random.Random(seed), []
    with swinging() as cell:
        wait_for(lambda: cell.peer.node.count_subscribers(name(topics.ESTOP)) == 1)
        wait_for(lambda: cell.peer.node.count_subscribers(topics.FLEET_ESTOP) == 1)
        for i in range(count):
            time.sleep(dice.uniform(0.0, POLICY_PERIOD_S))
            asked_s = cell.stop_by(("topic", "fleet topic", "service")[i % 3])
            tick = cell.first(asked_s, mode="estop")
            before = [t for t in cell.ticks if t.time_s < tick.time_s][-1]
            assert tick.q_rad == before.q_rad, "the stop's first tick moved"
            stopped.append(tick.time_s - asked_s)
            assert cell.set_estop(False).success
            cell.wait_following(SWINGS_AGAIN)
    return {"what": "e-stop: until zero commanded velocity", **figures(stopped, STOP_BAR_S)}


class Robot:
    """A robot at work with its fleet manager, and what moves."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.rig, self.peer = RobotRig(folder, domain), Peer(domain)
        self.modes = self.peer.listen(msg.SafetyStatus, name(topics.SAFETY_STATUS), ALL)
        self.joints = self.peer.listen(JointState, name(topics.JOINT_STATES), ALL)
        self.policies = self.peer.listen(msg.PolicyStatus, name(topics.POLICY_STATUS), LATCHED)
        self.rig.start_arm()
        manager = ["-r", "__ns:=/fleet", "-p", f"config:={self.rig.config_file}"]
        self.rig.nodes["manager"] = NodeProcess("fleet_manager_node", manager, domain, self.rig.run_dir / "fleet.log")
        self.rig.start("policy_node", "autostart:=true")

    def ask(self, kind: Any, topic: str, request: Any) -> Any:
        """Call until answered: what a killed server left behind swallows calls."""
        deadline = time.monotonic() + 30.0
        while True:
            try:
                return self.peer.result(self.peer.send(kind, topic, request), 2.0)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise

    def do(self, deed: str, i: int) -> None:
        """Whatever must not release a stop."""
        match deed:
            case "restart":
                module = ("safety_node", "policy_node")[i % 2]
                self.rig.nodes[module].kill()
                heard = len(self.modes)
                self.rig.start(module, *(["autostart:=true"] if module == "policy_node" else []))
                wait_for(lambda: len(self.modes) > heard + 25)
                if module == "policy_node":
                    self.policies.clear()
                    wait_for(lambda: self.policies and self.policies[-1].version > 0)
            case "push":
                request = srv.PushPolicy.Request(version=1, who="ann", why="latch", wait_s=5.0, call_id=str(i))
                answer = self.ask(srv.PushPolicy, topics.PUSH_POLICY, request)
                assert answer.success, answer.message
            case "rollback":
                request = srv.RollbackPolicy.Request(to_version=1, who="ann", why="latch", wait_s=5.0, call_id=str(i))
                answer = self.ask(srv.RollbackPolicy, topics.ROLLBACK_POLICY, request)
                assert answer.success, answer.message
            case "activate":
                for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
                    request = ChangeState.Request(transition=Transition(id=transition))
                    assert self.ask(ChangeState, name("policy_node/change_state"), request).success

    def close(self) -> None:
        """End everything."""
        self.rig.close()
        self.peer.close()


def latch(deed: str, count: int) -> dict[str, Any]:
    """How often anything moved while the latch was set."""
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder:
        robot = Robot(Path(folder) / "run", domain)
        try:
            wait_for(lambda: robot.modes and robot.modes[-1].mode == "following", 60.0)
            assert robot.ask(srv.SetEstop, name(topics.SET_ESTOP), srv.SetEstop.Request(stop=True, who="ann")).success
            wait_for(lambda: robot.modes[-1].mode == "estop")
            heard = len(robot.joints)
            wait_for(lambda: len(robot.joints) > heard + 50)  # the arm itself has come to rest
            motions, seen = 0, len(robot.joints)
            modes, still = len(robot.modes), robot.joints[-1].position
            for i in range(count):
                robot.do(deed, i)
                new = list(robot.joints)[seen:]
                seen += len(new)
                motions += any(abs(a - b) > MOTION_RAD for m in new for a, b in zip(m.position, still, strict=True))
            other = {m.mode for m in list(robot.modes)[modes:]} - {"estop"}
            assert robot.ask(srv.SetEstop, name(topics.SET_ESTOP), srv.SetEstop.Request(who="ann")).success
            wait_for(lambda: robot.modes[-1].mode == "following", 60.0)  # and a release it was that it waited for
        finally:
            robot.close()
    over = motions + len(other)
    return {"what": f"{deed} while latched", "count": count, "motions": motions, "modes": sorted(other), "over": over}


def figures(times_s: list[float], bar_s: float) -> dict[str, Any]:
    """What a list of durations comes to, in ms."""
    ordered = sorted(times_s)
    return {
        "count": len(ordered),
        "p50_ms": round(ordered[len(ordered) // 2] * 1e3, 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3, 1),
        "max_ms": round(ordered[-1] * 1e3, 1),
        "over": sum(t > bar_s for t in ordered),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("freezes", "stops", "latch"))
    parser.add_argument("--kind", choices=("stop", "spin", "kill"), default="stop")
    parser.add_argument("--deed", choices=("restart", "push", "rollback", "activate"), default="restart")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "freezes":
        found = freezes(given.kind, given.count, given.seed)
    elif given.what == "stops":
        found = stops(given.count, given.seed)
    else:
        found = latch(given.deed, given.count)
    print(json.dumps(found))
    return 1 if found["over"] else 0


if __name__ == "__main__":
    sys.exit(main())
