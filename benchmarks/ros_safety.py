"""Safety over ROS 2 as it is measured from outside: freezes of a policy, emergency stops, and what opens the latch.

    python benchmarks/ros_safety.py freezes --kind stop --count 200    (kinds: stop, spin, kill)
    python benchmarks/ros_safety.py stops --count 500
    python benchmarks/ros_safety.py latch --deed restart --count 100   (deeds: restart, push, rollback, activate)

`freezes`: a policy process that keeps the arm swinging is stopped by SIGSTOP, by C code that never lets go of the
interpreter lock, or by kill -9, at a random moment; the time until safety's first servo tick that is not `following`.
`stops`: from the request (each documented way in turn) to the first servo tick that commands the position of the tick
before, while the arm swings, beside a fleet manager, and two processes that hear what `ros2 topic echo` and a recorder
would. A stop that is not obeyed within 3 s is lost. A slow one is listed with its place, its way, the longest time
between safety's ticks meanwhile, and how late this process's own bare timer was: which of the three was late says whose
fault it is.
`latch`: a robot at work (simulated arm, safety, policy, fleet manager) is stopped, then the deed is done again and
again; how often anything moved. Times are wall-clock stamps of one host, made in the servo tick itself.
Needs `make setup-ros`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"

from std_msgs.msg import Bool

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import NodeProcess
from tests.support.ros.safety_rig import WAYS, SafetyRig, Tick, name
from tests.support.ros.whole_robot import WholeRobot
from tests.support.waiting import wait_for

HOLD_BAR_S, STOP_BAR_S = 0.1, 0.05
POLICY_PERIOD_S = 0.08
SWINGS_AGAIN = 8
"""Ticks of following after which the arm counts as swinging again."""


@contextlib.contextmanager
def swinging() -> Iterator[SafetyRig]:
    """A robot whose arm swings."""
    with reserved_domain() as domain, tempfile.TemporaryDirectory() as folder, SafetyRig(Path(folder), domain) as cell:
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
                frozen_s = cell.policy.spin(0.4)
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


def hold_after(cell: SafetyRig, since_s: float) -> float:
    """When safety no longer followed, after `since_s`."""

    def look() -> float:
        return next((t.time_s for t in cell.ticks[-100:] if t.time_s >= since_s and t.mode != "following"), 0.0)

    return wait_for(look)


def stops(count: int, seed: int) -> dict[str, Any]:
    """Times from the request to the first tick of zero commanded velocity, s."""
    dice, stopped, slow = random.Random(seed), [], []
    lost = dict.fromkeys(WAYS, 0)
    with swinging() as cell, beside(cell), BareTimer() as timer:
        for i in range(count):
            time.sleep(dice.uniform(0.0, POLICY_PERIOD_S))
            way = WAYS[i % len(WAYS)]
            asked_s = cell.stop_by(way)
            try:
                tick = cell.first(asked_s, mode="estop")
            except AssertionError:
                lost[way] += 1
                continue
            before = [t for t in cell.ticks if t.time_s < tick.time_s][-1]
            assert tick.q_rad == before.q_rad, "the stop's first tick moved"
            stopped.append(tick.time_s - asked_s)
            if stopped[-1] > STOP_BAR_S:
                slow.append(
                    {
                        "stop": i,
                        "way": way,
                        "ms": round(stopped[-1] * 1e3, 1),
                        "servo_gap_ms": round(servo_gap(cell.ticks, asked_s, tick.time_s) * 1e3, 1),
                        "bare_timer_late_ms": round(timer.latest(asked_s, tick.time_s) * 1e3, 1),
                    }
                )
            cell.open_latch()
            cell.wait_following(SWINGS_AGAIN)
    found = figures(stopped, STOP_BAR_S)
    found["over"] += sum(lost.values())
    return {"what": "e-stop: until zero commanded velocity", **found, "lost": lost, "slow": slow}


@contextlib.contextmanager
def beside(cell: SafetyRig) -> Iterator[None]:
    """A fleet manager, an echo of the robot's stop topics, and a recorder of all that is said about stops."""
    log = cell.rig.run_dir / "fleet.log"
    given = ["-r", "__ns:=/fleet", "-p", f"config:={cell.rig.config_file}"]
    manager = NodeProcess("fleet_manager_node", given, cell.domain, log)
    with contextlib.closing(Peer(cell.domain)) as echo, contextlib.closing(Peer(cell.domain)) as recorder:
        try:
            for peer in (echo, recorder):
                for topic in (name(topics.ESTOP), topics.FLEET_ESTOP):
                    peer.listen(Bool, topic, EVENTS)
                peer.listen(msg.EstopState, name(topics.ESTOP_STATE), LATCHED)
            recorder.listen(msg.SafetyStatus, name(topics.SAFETY_STATUS), SENSOR)
            wait_for(lambda: cell.peer.node.count_subscribers(topics.FLEET_ESTOP) >= 5, 30.0)
            yield
        finally:
            manager.kill()


def servo_gap(ticks: list[Tick], since_s: float, until_s: float) -> float:
    """Longest time between two ticks of safety around this span, s."""
    times = [t.time_s for t in ticks]
    return max(b - a for a, b in itertools.pairwise(times) if b >= since_s and a <= until_s)


class BareTimer:
    """A thread of this process that does nothing but wake up in time."""

    PERIOD_S = 0.02

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bare timer")

    def _run(self) -> None:
        due_s = time.time()
        while not self._end.is_set():
            due_s = max(due_s + self.PERIOD_S, time.time())
            self._end.wait(max(0.0, due_s - time.time()))
            now_s = time.time()
            self._late.append((now_s, now_s - due_s))

    def latest(self, since_s: float, until_s: float) -> float:
        """How late it was at most in this span, s."""
        return max((late for at_s, late in list(self._late) if since_s <= at_s <= until_s + late), default=0.0)

    def __enter__(self) -> BareTimer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def latch(deed: str, count: int) -> dict[str, Any]:
    """How often anything moved while the latch was set."""
    with (
        reserved_domain() as domain,
        tempfile.TemporaryDirectory() as folder,
        WholeRobot(Path(folder) / "run", domain) as robot,
    ):
        robot.stop()
        motions = 0
        for i in range(count):
            robot.do(deed, i)
            motions += robot.moved()
        others = robot.other_modes()
        robot.release()  # and a reset it was that it waited for
    return {"what": f"{deed} while latched", "count": count, "motions": motions, "over": motions + len(others)}


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
    kinds = ("freezes", "stops", "latch")
    parser.add_argument("what", choices=kinds, nargs="?", help="left out: all of them")
    parser.add_argument("--kind", choices=("stop", "spin", "kill"), default="stop")
    parser.add_argument("--deed", choices=("restart", "push", "rollback", "activate"), default="restart")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see that it runs")
    given = parser.parse_args()
    if given.smoke:
        given.what, given.count = given.what or "stops", len(WAYS)
    over = 0
    for what in [given.what] if given.what else kinds:
        if what == "freezes":
            found = freezes(given.kind, given.count, given.seed)
        elif what == "stops":
            found = stops(given.count, given.seed)
        else:
            found = latch(given.deed, given.count)
        print(json.dumps(found))
        over += found["over"]
    return 1 if over and not given.smoke else 0


if __name__ == "__main__":
    sys.exit(main())
