"""A fleet manager's `FleetStops` and robots' `EstopLatch`es, with a network between them that delays and loses.

Time is virtual, and a seed decides everything that happens. What a process has not written is lost when it is killed.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from pathlib import Path

from floop_robot.deploy.fleet_stops import TICK_S, FleetStops, ResetAnswer
from floop_robot.deploy.stop_messages import EstopRef, PendingStop
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.messages import ResetCommand, StopCommand
from floop_robot.spec.estop import EstopState

STATE_PERIOD_S = 1.0
LONGEST_FREEZE_S = 30.0
CALM_S = 8.0
"""After the last event everybody runs and nothing is lost: so long until all has been obeyed."""


class SimulatedRobot:
    """A robot's safety process, which may be dead, frozen or cut off."""

    def __init__(self, world: World, name: str, folder: Path) -> None:
        self.world, self.name, self._path = world, name, folder / f"{name}.latch"
        self.is_alive, self.frozen_until_s, self.cut_until_s = True, 0.0, 0.0
        self.latch = EstopLatch(self._path)
        self.applied: dict[str, int] = {}
        """How often a stop of each `request_id` was taken as a new one."""
        self.stopped_again = 0
        """Stops that were taken again after they had been obeyed and reset."""
        self.in_latch: set[str] = set()
        """`request_id`s of the stops that hold."""
        self.stored: set[str] = set()
        """The same, as the disk has it."""
        self.open: set[str] = set()
        """Stops that nobody has reset, also those that a kill made the robot forget."""
        self.seen_by_id: dict[str, frozenset[str]] = {}
        """By `stop_id`: the stops that somebody sees who sees it."""
        self._life = 0
        world.at(0.0, self._speak(0))

    @property
    def runs_at_s(self) -> float:
        """When it takes what arrives now."""
        return max(self.world.now_s, self.frozen_until_s)

    def kill(self) -> None:
        self.is_alive, self._life = False, self._life + 1

    def start(self) -> None:
        if not self.is_alive:
            self.is_alive, self.frozen_until_s = True, 0.0
            self.latch = EstopLatch(self._path)
            self.in_latch = set(self.stored)
            self._note()
            self.world.at(self.world.now_s, self._speak(self._life))

    def _note(self) -> None:
        stop_id = self.latch.state().stop_id
        if stop_id:
            self.seen_by_id[stop_id] = frozenset(self.in_latch)

    def _speak(self, life: int) -> Callable[[], None]:
        """Publish each second while this life lasts."""

        def speak() -> None:
            if self.is_alive and life == self._life:
                if self.world.now_s >= self.frozen_until_s:
                    self.latch.renew_nonce(self.world.now_s)
                    self.publish()
                self.world.at(max(self.frozen_until_s, self.world.now_s + STATE_PERIOD_S), speak)

        return speak

    def publish(self) -> None:
        self.world.publish(self.name, self.latch.state())

    def take_stop(self, command: StopCommand, answer: Callable[[bool], None]) -> None:
        """As the servo thread does: stop, publish, and answer once it is on disk, if no kill comes before."""
        if self.latch.stop(command):
            self.stopped_again += command.request_id in self.applied and command.request_id not in self.open
            self.applied[command.request_id] = self.applied.get(command.request_id, 0) + 1
            told = {command.request_id} | self.world.told_by.get((self.name, command.request_id), set())
            self.applied = dict.fromkeys(told, 1) | self.applied
            self.in_latch |= told
            self.open |= told
            self._note()
        self.publish()
        self._store(lambda: answer(True))

    def take_reset(self, command: ResetCommand, answer: Callable[[bool, str], None]) -> None:
        was_set = self.latch.is_set
        success, message = self.latch.reset(command, self.world.now_s)
        if success and was_set:
            unseen = self.in_latch - self.world.seen[command.why]
            assert not unseen, f"a reset whose sender had not seen {unseen}"
            self.world.resets += 1
            self.open -= self.in_latch
            self.in_latch.clear()
        self.publish()
        self._store(lambda: answer(success, message))

    def _store(self, then: Callable[[], None]) -> None:
        life = self._life

        def store() -> None:
            if life == self._life:
                self.latch.file.save()
                self.stored = set(self.in_latch)
                self.publish()
                then()

        self.world.at(self.runs_at_s + self.world.random.choice((0.002, 0.3)), store)


class World:
    """Everything that happens, in order of time."""

    def __init__(self, seed: int, folder: Path, robots: int = 2) -> None:
        self.random, self.now_s, self.resets, self.refused = random.Random(seed), 100.0, 0, 0
        self._folder, self._count = folder, itertools.count()
        self._last_s: dict[tuple[str, str], float] = {}
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self.seen: dict[str, frozenset[str]] = {}
        """By reset (its reason): the stops that its sender had seen."""
        self.kept: dict[str, set[str]] = {}
        """By robot: the stops that the manager had on its disk."""
        self.asked: dict[str, str] = {}
        """By robot: the newest stop at the manager."""
        self.told_by: dict[tuple[str, str], set[str]] = {}
        """By robot and stop: the stops whose place it took, whose reasons it tells."""
        self.newest: dict[str, EstopState] = {}
        self.life, self.stops = 0, None
        self.robots = {f"robot_{i}": SimulatedRobot(self, f"robot_{i}", folder) for i in range(robots)}
        self.is_calm = False
        self.start_manager()

    @property
    def stopped_again(self) -> int:
        """Stops that a robot took again after it had obeyed and was reset."""
        return sum(robot.stopped_again for robot in self.robots.values())

    def at(self, time_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (max(time_s, self.now_s), next(self._count), do))

    def run(self, until_s: float) -> None:
        while self._queue and self._queue[0][0] <= until_s:
            self.now_s, _, do = heapq.heappop(self._queue)
            do()
        self.now_s = until_s

    def start_manager(self) -> None:
        if self.stops is not None:
            return
        self.life += 1
        life = self.life
        self.stops = FleetStops(self._folder / "stops", list(self.robots), self, lambda *_: None, lambda: self.now_s)
        for name, state in self.newest.items():  # the topic is latched: who joins gets the newest
            self._to_manager(lambda stops, name=name, state=state: stops.observe(name, state))

        def tick() -> None:
            if self.life == life and self.stops is not None:
                self.stops.tick()
                self.at(self.now_s + TICK_S, tick)

        tick()

    def kill_manager(self) -> None:
        self.stops = None

    def _to_manager(self, do: Callable[[FleetStops], None], robot: str = "") -> None:
        """Something for this life of the manager, after a while; it may be lost."""
        life = self.life

        def deliver() -> None:
            if self.stops is not None and self.life == life:
                do(self.stops)
                self.save_soon()

        if not self.is_lost():
            self.at(self._arrival_s("manager", robot), deliver)

    def _arrival_s(self, to: str, robot: str) -> float:
        """When a message arrives: in the order sent, and not before a robot that is cut off is back."""
        cut_s = self.robots[robot].cut_until_s if robot else 0.0
        self._last_s[to, robot] = max(self.now_s + self.delay_s(), cut_s, self._last_s.get((to, robot), 0.0))
        return self._last_s[to, robot]

    def save_soon(self) -> None:
        stops = self.stops

        def save() -> None:
            if stops is not None and stops is self.stops:
                stops.writer.save()

        self.at(self.now_s + self.random.choice((0.002, 0.5)), save)

    def publish(self, robot: str, state: EstopState) -> None:
        self.newest[robot] = state
        self._to_manager(lambda stops: stops.observe(robot, state), robot)

    def delay_s(self) -> float:
        return self.random.choice((0.001, 0.01, 0.01, 0.4)) if not self.is_calm else 0.005

    def is_lost(self) -> bool:
        return not self.is_calm and self.random.random() < 0.1

    def to_robot(self, name: str, do: Callable[[SimulatedRobot], None]) -> None:
        """Something for a robot: it vanishes when the robot is dead as it arrives, and waits while it is frozen."""
        robot = self.robots[name]

        def deliver() -> None:
            if robot.runs_at_s > self.now_s:
                self.at(robot.runs_at_s, deliver)
            elif robot.is_alive:
                do(robot)

        if not self.is_lost():
            self.at(self._arrival_s("robot", name), deliver)

    # The link of `FleetStops`

    def is_ready(self, robot: str) -> bool:
        return self.robots[robot].is_alive or self.random.random() < 0.5  # what a killed server leaves behind

    def send_stop(self, stop: PendingStop) -> None:
        command = StopCommand(who=stop.who, why=stop.why, request_id=stop.request_id)
        answered = lambda obeyed: self._to_manager(lambda stops: stops.answer(stop, obeyed), stop.robot)  # noqa: E731
        self.to_robot(stop.robot, lambda robot: robot.take_stop(command, answered))

    def send_reset(self, ref: EstopRef, who: str, token: str, why: str, answer: ResetAnswer) -> None:
        assert self.stops is not None and not self.stops.is_pending(ref.robot), "a reset beside a pending stop"
        self._reset(
            ref,
            why,
            lambda success, message: self._to_manager(lambda _: answer.set_result((success, message)), ref.robot),
        )

    def _reset(self, ref: EstopRef, why: str, done: Callable[[bool, str], None]) -> None:
        command = ResetCommand(who="ann", stop_id=ref.stop_id, nonce=ref.nonce, why=why)
        self.to_robot(ref.robot, lambda robot: robot.take_reset(command, done))

    # What people do

    def stop_by_manager(self) -> None:
        """A stop of some robots at the manager; it counts once it is on the manager's disk, as its answer says."""
        request_id, stops = f"stop {next(self._count)}", self.stops
        named = self.random.sample(list(self.robots), self.random.randint(1, len(self.robots)))
        if stops is None:
            return  # nobody hears it, and no answer comes
        for each in stops.report().robots:
            if each.pending is not None and each.robot in named:
                earlier = each.pending.request_id
                told = {earlier} | self.told_by.get((each.robot, earlier), set())
                self.told_by[each.robot, request_id] = told
        stops.stop(named, f"who {request_id}", "a hand", request_id)
        self.asked.update(dict.fromkeys(named, request_id))

        def write() -> None:
            if stops is not self.stops:
                return
            stops.writer.save()
            for each in stops.report().robots:
                kept = self.kept.setdefault(each.robot, set())
                if each.pending is not None:  # the newest takes the place of one that was not obeyed yet
                    kept.intersection_update(self.robots[each.robot].applied)
                    kept.add(each.pending.request_id)
                elif self.asked.get(each.robot) == request_id:
                    kept.add(request_id)

        self.at(self.now_s + self.random.choice((0.0, 0.01, 0.2)), write)

    def stop_directly(self) -> None:
        """A stop at one robot, which nobody repeats."""
        command = StopCommand(who="eve", request_id=f"direct {next(self._count)}")
        self.to_robot(self.random.choice(list(self.robots)), lambda robot: robot.take_stop(command, lambda _: None))

    def reset_later(self) -> None:
        """Somebody looks at a robot, and resets what was seen after a while."""
        name = self.random.choice(list(self.robots))
        state = self.newest.get(name)
        if state is None or not state.stop_id:
            return
        why = f"reset {next(self._count)}"
        self.seen[why] = self.robots[name].seen_by_id.get(state.stop_id, frozenset())
        ref = EstopRef(robot=name, stop_id=state.stop_id, nonce=state.nonce or "none")

        def send() -> None:
            if self.random.random() < 0.5:
                self._reset(ref, why, lambda *_: None)
            elif self.stops is not None:
                self.refused += self.stops.reset([ref], "ann", "", why)[name].done()

        self.at(self.now_s + self.random.choice((0.0, 0.05, 0.5, 5.0, 25.0)), send)

    def harm(self) -> None:
        """Kill, freeze or cut off somebody, or start what is dead."""
        robot = self.random.choice(list(self.robots.values()))
        until_s = self.now_s + self.random.choice((0.3, 2.0, LONGEST_FREEZE_S))
        does = (self.kill_manager, self.start_manager, robot.kill, robot.start, "freeze", "cut")
        what = self.random.choice(does)
        if what == "freeze":
            robot.frozen_until_s = until_s
        elif what == "cut":
            robot.cut_until_s = until_s
        else:
            what()

    def calm(self) -> None:
        """Everybody runs again and nothing is lost, until all has been obeyed."""
        self.run(self.now_s + LONGEST_FREEZE_S)
        self.is_calm = True
        self.start_manager()
        for robot in self.robots.values():
            robot.start()
        self.run(self.now_s + CALM_S)


def play(seed: int, folder: Path, events: int = 25, with_resets: bool = True) -> World:
    """One schedule; asserts that no kept stop is lost, and that no reset opened what its sender had not seen."""
    folder.mkdir(parents=True)
    world = World(seed, folder)
    does = [world.stop_by_manager, world.stop_directly, world.harm, world.harm]
    does += [world.reset_later, world.reset_later] if with_resets else []
    for _ in range(events):
        world.run(world.now_s + world.random.choice((0.001, 0.02, 0.3, 1.0)))
        world.random.choice(does)()
    world.calm()
    assert world.stops is not None
    for name, robot in world.robots.items():
        lost = world.kept.get(name, set()) - robot.applied.keys()
        assert not lost, f"seed {seed}: {name} never obeyed {lost}"
        held = world.kept.get(name, set()) & robot.open
        assert not held or robot.latch.is_set, f"seed {seed}: {name} moves although nobody has reset {held}"
        assert not world.stops.is_pending(name), f"seed {seed}: {name} has a stop pending for ever"
    world.stops.writer.save()
    assert not list((folder / "stops").glob("robot_*")), f"seed {seed}: a stop that was obeyed is still on disk"
    return world
