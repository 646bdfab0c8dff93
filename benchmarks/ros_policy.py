"""The policy node as it is measured from outside: memory, cancels, ends and returns.

    python benchmarks/ros_policy.py memory --count 300     (seconds of episodes, a policy pushed every other second)
    python benchmarks/ros_policy.py cancels --count 50
    python benchmarks/ros_policy.py ends --count 20
    python benchmarks/ros_policy.py returns --count 20

`memory`: resident set of the policy node's process while it works, is labelled and takes versions from the fleet
manager's node. `cancels`: from the request to cancel execute_task to the first joint state whose fastest joint is
below 0.02 rad/s, and to the action's answer. `ends`: from SIGINT in the midst of an episode to the end of the process.
`returns`: from kill -9 to the next process, started by floop's own supervisor with its growing back-off (`down_s`), and
from there to its first joint target, a reset of the scene included (`works_s`).
Needs `make setup-ros`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"

from floop_interfaces.action import ExecuteTask
from floop_interfaces.msg import JointTarget
from floop_interfaces.srv import PushPolicy
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import COMMAND
from floop_robot.services.supervision.fleet_description import Middleware, robot_processes
from floop_robot.services.supervision.ros_domain import reserved_domain
from floop_robot.services.supervision.supervisor import Supervisor
from tests.support.ros.peer import Peer
from tests.support.ros.recorded_robot import HERE, STANDS_RAD_S, Robot
from tests.support.ros.robot_rig import ROBOT, NodeProcess, RobotRig
from tests.support.waiting import wait_for

MEMORY_BAR_MB, END_BAR_S = 120.0, 3.0
PUSH_INTERVAL_S = 2.0


@contextlib.contextmanager
def robot_at_work(*parameters: str, installed: bool = True) -> Iterator[Robot]:
    """Arm, safety and policy nodes of one robot, with a policy installed or none."""
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder:
        rig, peer = RobotRig(Path(folder), domain), Peer(domain)
        if installed:
            rig.install()
        try:
            rig.start_arm()
            rig.start("policy_node", "autostart:=true", *parameters)
            yield Robot(rig, peer)
        finally:
            peer.close()
            rig.close()


def memory(count: int) -> dict[str, Any]:
    """Resident set, MiB, over `count` seconds."""
    seen: list[float] = []
    with robot_at_work(installed=False) as robot:  # a stored version would be newer than the manager's first
        rig = robot.rig
        given = ["-r", "__ns:=/fleet", "-p", f"config:={rig.config_file}"]
        manager = NodeProcess("fleet_manager_node", given, rig.domain, rig.run_dir / "manager.log")
        try:
            wait_for(lambda: robot.status and robot.status[-1].stage == "acting", 30.0, "a first policy")
            end_s = time.monotonic() + count
            while time.monotonic() < end_s:
                version = robot.status[-1].version
                request = PushPolicy.Request(version=version, who="bench", wait_s=5.0)
                answer = robot.peer.call(PushPolicy, topics.PUSH_POLICY, request, 20.0)
                if not answer.success:
                    raise SystemExit(f"a push failed: {answer.message}")
                if robot.results:
                    robot.label(episode=robot.results[-1].episode, episode_success=True, token="")
                seen.append(rig.nodes["policy_node"].rss_mb())
                time.sleep(PUSH_INTERVAL_S)
            episodes, versions = len(robot.results), len({s.version for s in robot.status if s.stage == "acting"})
        finally:
            manager.kill()
    return {
        "seconds": count, "episodes": episodes, "versions": versions, "first_mb": round(seen[0], 1),
        "last_mb": round(seen[-1], 1), "max_mb": round(max(seen), 1), "bar_mb": MEMORY_BAR_MB,
        "met": max(seen) <= MEMORY_BAR_MB,
    }  # fmt: skip


def cancels(count: int) -> dict[str, Any]:
    """Cancel `count` tasks in motion."""
    stands, answers = [], []
    with robot_at_work("episode_start:=service") as robot:
        robot.wait_ready()
        client = robot.peer.action_client(ExecuteTask, f"{HERE}/execute_task")
        for _ in range(count):
            goal = ExecuteTask.Goal(who="bench")
            handle = robot.peer.result(robot.peer.spun(client.send_goal_async, goal), 20.0)
            wait_for(lambda: robot.state.phase == "running" and _speed(robot) > 10 * STANDS_RAD_S, what="motion")
            began_s, heard = time.monotonic(), len(robot.joints)
            robot.peer.spun(handle.cancel_goal_async)
            result = robot.peer.spun(handle.get_result_async)
            stands.append(_until(lambda n=heard: _speed(robot, n) <= STANDS_RAD_S, began_s))
            answers.append(_until(result.done, began_s))
        robot.peer.spun(client.destroy)
    return {"count": count, "stands_s": _spread(stands), "answers_s": _spread(answers)}


def ends(count: int) -> dict[str, Any]:
    """SIGINT in the midst of `count` episodes."""
    took = []
    with robot_at_work() as robot:
        targets = robot.peer.listen(JointTarget, f"{HERE}/joint_target", COMMAND)
        for i in range(count):
            heard = len(targets)
            wait_for(lambda n=heard: len(targets) > n + 3, 30.0, "an episode")
            took.append(robot.rig.nodes["policy_node"].end())
            if i + 1 < count:
                robot.rig.start("policy_node", "autostart:=true")
    return {"count": count, "ends_s": _spread(took), "bar_s": END_BAR_S, "met": max(took) <= END_BAR_S}


def returns(count: int) -> dict[str, Any]:
    """Kill -9 in the midst of `count` episodes."""
    downs, works = [], []
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder:
        rig, peer = RobotRig(Path(folder), domain), Peer(domain)
        rig.install()
        targets = peer.listen(JointTarget, f"{HERE}/joint_target", COMMAND)
        specs = robot_processes(rig.config_file, ROBOT, Middleware.ROS)
        with contextlib.closing(peer), Supervisor(specs, rig.run_dir, {"ROS_DOMAIN_ID": str(domain)}) as supervisor:
            for _ in range(count):
                heard = len(targets)
                wait_for(lambda n=heard: len(targets) > n + 3, 30.0, "an episode")
                pid = supervisor.pid(f"{ROBOT}.policy")
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                began_s = time.monotonic()
                wait_for(lambda old=pid: supervisor.pid(f"{ROBOT}.policy") not in (None, old), what="another process")
                downs.append(time.monotonic() - began_s)
                began_s, heard = time.monotonic(), len(targets)
                works.append(_until(lambda n=heard: len(targets) > n, began_s))
    return {"count": count, "down_s": _spread(downs), "works_s": _spread(works)}


def _speed(robot: Robot, after: int = 0) -> float:
    """Of the fastest joint, rad/s, in the newest joint state; infinite before one came after the `after`th."""
    joints = robot.joints
    return max(map(abs, joints[-1].velocity)) if len(joints) > after else float("inf")


def _until(condition: Callable[[], bool], began_s: float, timeout_s: float = 20.0) -> float:
    for _ in itertools.count():
        if condition():
            return time.monotonic() - began_s
        if time.monotonic() - began_s > timeout_s:
            raise SystemExit(f"nothing within {timeout_s:g} s")
        time.sleep(0.002)
    raise AssertionError


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(ordered[len(ordered) // 2], 3), "max": round(ordered[-1], 3)}


def main() -> int:
    """Measure one thing; the status is 1 when a bar was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"memory": memory, "cancels": cancels, "ends": ends, "returns": returns}
    parser.add_argument("what", choices=kinds, nargs="?", help="left out: all of them")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    asked = parser.parse_args()
    if asked.smoke:
        asked.what, asked.count = asked.what or "returns", 1
    found = {what: kinds[what](asked.count) for what in ([asked.what] if asked.what else kinds)}
    print(json.dumps(found, indent=2))
    return 0 if asked.smoke or all(each.get("met", True) for each in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
