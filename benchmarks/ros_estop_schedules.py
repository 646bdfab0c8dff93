"""Stops and resets of a fleet while everybody is killed, frozen and cut off; and every way to stop, timed.

    python benchmarks/ros_estop_schedules.py model --count 2000
    python benchmarks/ros_estop_schedules.py processes --count 200
    python benchmarks/ros_estop_schedules.py ways --count 100

`model`: the manager's and the robots' e-stop code in one process, in virtual time, on real files. A seed decides when
stops and resets come, what is delayed or lost, and who is killed, frozen or cut off.
`processes`: a real fleet manager and four real safety nodes over DDS. Each round is one schedule for each robot: stops
at the manager and at the robot, SIGKILL or SIGSTOP of the robot's safety process and of the manager, and resets racing
for every second robot. `moving` counts robots whose latch is open although somebody has stopped them, `blind_resets`
resets of a stop that their sender had not seen. Both must be 0.
`ways`: each documented way to stop, beside a fleet manager, a recorder of all topics and an echo, while the arm
swings: from the request to the first servo tick that stands. A topic's publisher stays until the arm stands.
Needs `make setup-ros`, except `model`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"

ROBOTS = 4
STOP_BAR_S = 0.05


def model(count: int, seed: int) -> dict[str, Any]:
    """In-process schedules; an assertion ends them."""
    from tests.support.estop_world import play

    shm = Path("/dev/shm")
    kept = resets = refused = again = 0
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        for i in range(count):
            world = play(seed + i, Path(folder) / str(i), with_resets=i % 2 == 1)
            kept += sum(map(len, world.kept.values()))
            resets, refused = resets + world.resets, refused + world.refused
            again += world.stopped_again
    return {
        "what": "model", "schedules": count, "kept_stops": kept, "resets": resets, "refused_by_manager": refused,
        "stopped_again": again, "lost": 0, "blind_resets": 0, "s": round(time.monotonic() - began_s, 1), "over": 0,
    }  # fmt: skip


def processes(count: int, seed: int) -> dict[str, Any]:
    """Schedules on real processes."""
    from floop_robot.services.supervision.ros_domain import reserved_domain
    from tests.support.ros.estop_schedules import Figures, play_round
    from tests.support.ros.fleet_estop_rig import EstopFleet

    figures, began_s = Figures(), time.monotonic()
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder:
        fleet = EstopFleet(Path(folder), domain, ROBOTS)
        try:
            while figures.schedules < count:
                play_round(fleet, seed + figures.schedules, figures)
                print(f"{figures.schedules} {figures.faults[-1:]}", file=sys.stderr, flush=True)
        finally:
            fleet.close()
    found = {name: getattr(figures, name) for name in figures.__struct_fields__}
    found["slowest_s"] = round(figures.slowest_s, 1)
    took = round(time.monotonic() - began_s, 1)
    return {"what": "processes", **found, "s": took, "over": figures.moving + figures.blind_resets}


def ways(count: int, seed: int, only: Sequence[str] = ()) -> dict[str, Any]:
    """Each documented way to stop a swinging arm, or `only` these."""
    from std_msgs.msg import Bool
    from std_srvs.srv import Trigger

    from floop_interfaces import srv
    from floop_robot.robot.estop_socket import ask_robot
    from floop_robot.robot.messages import StopCommand
    from floop_robot.ros.node import topics
    from floop_robot.ros.node.qos import EVENTS
    from floop_robot.services.supervision.ros_domain import reserved_domain
    from tests.support.ros.robot_rig import ROBOT
    from tests.support.ros.safety_rig import SafetyRig, name
    from tests.support.waiting import wait_for

    dice, found, over = random.Random(seed), {}, 0
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder, SafetyRig(Path(folder), domain) as cell:
        cell.rig.start("fleet_manager_node")
        others = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.support.ros.listener", kind],
                cwd=Path(__file__).resolve().parents[1],
                env=os.environ | {"ROS_DOMAIN_ID": str(domain)},
            )
            for kind in ("recorder", "echo")
        ]
        node, run_dir = cell.peer.node, cell.rig.run_dir
        levels = {t: node.create_publisher(Bool, t, EVENTS) for t in (name(topics.ESTOP), topics.FLEET_ESTOP)}
        # Recorder and echo, and two of each node, for each quality of service. All are there before the first stop.
        listeners = {name(topics.ESTOP): 4, topics.FLEET_ESTOP: 6}

        def call(kind: Any, topic: str, request: Any) -> Callable[[], Any]:
            return lambda: cell.peer.send(kind, topic, request)

        def level(topic: str) -> Callable[[], Any]:
            return lambda: levels[topic].publish(Bool(data=True))

        table = {
            "fleet stop service": call(srv.StopFleet, topics.FLEET_STOP, srv.StopFleet.Request(who="ann")),
            "fleet Trigger service": call(Trigger, topics.FLEET_ESTOP_TRIGGER, Trigger.Request()),
            "fleet Bool topic": level(topics.FLEET_ESTOP),
            "stop service": call(srv.StopRobot, name(topics.STOP), srv.StopRobot.Request(who="ann")),
            "Trigger service": call(Trigger, name(topics.ESTOP_TRIGGER), Trigger.Request()),
            "Bool topic": level(name(topics.ESTOP)),
            "without ROS": lambda: ask_robot(run_dir, ROBOT, StopCommand(who="ann")),
        }
        try:
            cell.start()
            for topic in levels:
                wait_for(lambda t=topic: node.count_subscribers(t) >= listeners[t], 60.0, f"listeners of {topic}")
            wait_for(lambda: cell.peer.call(Trigger, topics.FLEET_ESTOP_TRIGGER, Trigger.Request()).success, 60.0)
            cell.open_latch()
            for way, do in table.items():
                if only and way not in only:
                    continue
                times, lost = [], 0
                for _ in range(count):
                    cell.wait_following(8)
                    time.sleep(dice.uniform(0.0, 0.08))
                    asked_s = time.time()
                    do()
                    try:
                        times.append(cell.first(asked_s, mode="estop").time_s - asked_s)
                    except AssertionError:
                        lost += 1
                    for publisher in levels.values():
                        publisher.publish(Bool(data=False))
                    cell.open_latch()
                times.sort()
                found[way] = {
                    "count": count, "lost": lost, "p50_ms": round(times[len(times) // 2] * 1e3, 1),
                    "max_ms": round(times[-1] * 1e3, 1), "over": sum(t > STOP_BAR_S for t in times),
                }  # fmt: skip
                print(way, found[way], file=sys.stderr, flush=True)
                over += lost + found[way]["over"]
        finally:
            for other in others:
                other.kill()
                other.wait()
    return {"what": "ways", **found, "over": over}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds: dict[str, tuple[Callable[[int, int], dict[str, Any]], int, int]] = {
        "model": (model, 2000, 50), "processes": (processes, 200, ROBOTS), "ways": (ways, 100, 2),
    }  # fmt: skip
    parser.add_argument("what", choices=[*kinds], nargs="?", help="left out: all of them")
    parser.add_argument("--count", type=int, help="schedules, or stops of each way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    parser.add_argument("--way", action="append", default=[], help="`ways`: only this one, as the output names it")
    given = parser.parse_args()
    kinds["ways"] = (partial(ways, only=given.way), *kinds["ways"][1:])
    over = 0
    for what in [given.what] if given.what else kinds:
        run, usual, least = kinds[what]
        found = run(least if given.smoke else given.count or usual, given.seed)
        print(json.dumps(found), flush=True)
        over += found["over"]
    return 1 if over and not given.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
