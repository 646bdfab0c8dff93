"""Schedules of stops, resets and faults on real processes: one schedule a robot, several robots beside one manager.

A robot counts as moving when its latch is open: the servo loop commands no motion while it is set (`ros_safety.py`).
A stop counts once its call was answered, whatever the answer: the caller then knows that it was heard. A reset names
what the newest published state showed to its sender.
"""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

import msgspec

from floop_interfaces import srv
from floop_robot.ros.node import topics
from tests.support.operator_tokens import TOKEN, WHO
from tests.support.ros.fleet_estop_rig import EstopFleet
from tests.support.waiting import wait_for

QUIET_S = 40.0
"""How long the end of a round may take: nodes start, and what a killed one left behind stays for 20 s."""
FAULTS = ("none", "kill", "kill", "freeze", "freeze")
MANAGER_FAULTS = ("none", "kill", "kill", "freeze")


class Figures(msgspec.Struct):
    """What schedules came to."""

    schedules: int = 0
    stops_sent: int = 0
    stops_heard: int = 0
    resets_sent: int = 0
    resets_done: int = 0
    manager_faults: int = 0
    robot_faults: int = 0
    moving: int = 0
    """Robots that move although somebody has stopped them."""
    blind_resets: int = 0
    """Resets of a stop that their sender had not seen."""
    stopped_again: int = 0
    """Stops that a robot took a second time, after it had obeyed and was reset."""
    slowest_s: float = 0.0
    """Longest time from the end of the faults until all had obeyed."""
    faults: list[str] = []


class Lane:
    """One robot's schedule in a round."""

    def __init__(self, fleet: EstopFleet, robot: str, dice: random.Random, with_resets: bool) -> None:
        self.fleet, self.robot, self.dice = fleet, robot, dice
        self.began = max(0, len(fleet.heard[robot]) - 1)
        self.calls: dict[str, Any] = {}
        """Futures of stops, by their id."""
        self.named: set[str] = set()
        """Stops that resets named."""
        self.resets: list[Any] = []
        self.fault = dice.choice(FAULTS)
        plan = [(dice.uniform(0.0, 1.0), self._stop) for _ in range(dice.randint(1, 3))]
        plan += [(dice.uniform(0.0, 3.0), self._reset) for _ in range(4 if with_resets else 0)]
        if self.fault != "none":
            plan.append((dice.uniform(0.0, 1.0), self._harm))
            plan.append((dice.uniform(1.0, 3.0), self.mend))
        self.plan = plan

    def _stop(self) -> None:
        request_id = f"{self.robot} {self.dice.getrandbits(60):x}"
        peer = self.fleet.rig.peer
        given = {"request_id": request_id, "who": "bob", "why": "a hand"}
        if self.dice.random() < 0.75:
            request = srv.StopFleet.Request(robots=[self.robot], **given)
            self.calls[request_id] = peer.send(srv.StopFleet, topics.FLEET_STOP, request)
        else:
            request = srv.StopRobot.Request(**given)
            self.calls[request_id] = peer.send(srv.StopRobot, f"/{self.robot}/{topics.STOP}", request)

    def _reset(self) -> None:
        state = self.fleet.state(self.robot)
        if not state.stop_id:
            return
        self.named.add(state.stop_id)
        ref, peer = self.fleet.ref(self.robot), self.fleet.rig.peer
        if self.dice.random() < 0.75:
            request = srv.ResetFleet.Request(stops=[ref], who=WHO, token=TOKEN)
            self.resets.append(peer.send(srv.ResetFleet, topics.FLEET_RESET_ESTOP, request))
        else:
            request = srv.ResetEstop.Request(stop_id=ref.stop_id, nonce=ref.nonce, who=WHO, token=TOKEN)
            self.resets.append(peer.send(srv.ResetEstop, f"/{self.robot}/{topics.RESET_ESTOP}", request))

    def _harm(self) -> None:
        if self.fault == "kill":
            self.fleet.safety[self.robot].kill()
        else:
            self.fleet.freeze(self.robot)

    def mend(self) -> None:
        """Let the safety process run again."""
        if self.fault == "kill" and self.fleet.safety[self.robot].process.poll() is not None:
            self.fleet.launch(self.robot)
        elif self.fault == "freeze":
            self.fleet.freeze(self.robot, False)

    def judge(self, figures: Figures) -> None:
        """Count what must not be, once all is quiet."""
        heard = self.fleet.heard[self.robot][self.began :]
        answered = {i: f.result() for i, f in self.calls.items() if f.done() and f.exception() is None}
        applied = {state.request_id for state in heard}
        last = [i for i in answered if i in applied][-1:]
        ids = list(self.calls)
        for i, answer in answered.items():
            if isinstance(answer, srv.StopRobot.Response) and not answer.success:
                continue  # the robot says that it has not obeyed
            # The manager keeps the newest stop of a robot; two that came together show as one state.
            if i not in applied and not (last and ids.index(last[0]) > ids.index(i)):
                figures.moving += 1
                figures.faults.append(f"{self.robot} never obeyed {i}")
        order = list(dict.fromkeys(state.stop_id for state in heard if state.stop_id))
        if not heard[-1].latched and order and heard[-1].stop_id != order[-1]:
            figures.moving += 1
            figures.faults.append(f"{self.robot} moves after {order[-1]}, which nobody has reset")
        before = heard[0].stop_id  # it may have been reset before this round
        for stop_id in {state.stop_id for state in heard if not state.latched} - {before, ""}:
            if stop_id not in self.named:
                figures.blind_resets += 1
                figures.faults.append(f"{self.robot} was reset of {stop_id}, which nobody had named")
        was_open: set[str] = set()
        for earlier, state in itertools.pairwise(heard):
            if not earlier.latched and state.latched and state.request_id in was_open:
                figures.stopped_again += 1
            if not state.latched:
                was_open.add(state.request_id)
        figures.schedules += 1
        figures.stops_sent += len(self.calls)
        figures.stops_heard += len(answered)
        figures.resets_sent += len(self.resets)
        done = [f.result() for f in self.resets if f.done() and f.exception() is None]
        figures.resets_done += sum(answer.success for answer in done)
        figures.robot_faults += self.fault != "none"


def play_round(fleet: EstopFleet, seed: int, figures: Figures) -> None:
    """One schedule for each robot; every second robot has resets racing."""
    dice = random.Random(seed)
    lanes = [
        Lane(fleet, r, random.Random(dice.getrandbits(60)), with_resets=i % 2 == 1) for i, r in enumerate(fleet.robots)
    ]
    plan = [step for lane in lanes for step in lane.plan]
    manager_fault = dice.choice(MANAGER_FAULTS)
    if manager_fault != "none":
        figures.manager_faults += 1
        at_s = dice.uniform(0.0, 1.0)
        plan.append((at_s, lambda: fleet.harm_manager(manager_fault)))
        plan.append((at_s + dice.uniform(0.1, 2.0), fleet.mend_manager))
    began_s = time.monotonic()
    for at_s, do in sorted(plan, key=lambda step: step[0]):
        time.sleep(max(0.0, began_s + at_s - time.monotonic()))
        do()
    quiet_s = time.monotonic()
    fleet.mend_manager()
    for lane in lanes:
        lane.mend()
    fleet.rig.wait_for_manager()
    wait_for(lambda: not fleet.pending(), QUIET_S, "obedience of all robots")
    for robot in fleet.robots:
        fleet.next_states(robot, 2)
    figures.slowest_s = max(figures.slowest_s, time.monotonic() - quiet_s)
    for lane in lanes:
        lane.judge(figures)
    fleet.reset_all()
