"""DeploymentMonitor: is the new version as good in production as in the gate? No clock, no sockets, no disk.

Only production episodes count (`LiveEpisode.production`), never those of explorers.

Roll back: for each class of tasks, the replaced version's last `REFERENCE_WINDOW` episodes give a lower bound of its
success (Clopper-Pearson, α/2). Evidence against "the new version does at least as well" is gathered by betting, for
each class apart: a new version may gain on one and lose on another. The mean of the classes' evidence must reach 2/α.
So an equally good version is rolled back with probability ≤ α, however long it is watched.

The version before is the last proven one: those that a better version replaced early are passed over.

Confirm: the anytime-valid lower bound (α) of its success reaches `confirm_success` on every class that failed when the
watch began (`FailureMonitor.failing`), or on all tasks together if none failed. If evidence (1/α) shows that it never
will, the version stays, since it is no worse than the one it replaced. The next candidate need not wait for it.

A class that failed on some robots only counts as two: those robots must succeed, and the others must not get worse.

Undecided: while neither verdict is halfway shown, a version that the gate found better may take its place. So the
default `confirm_success` (80 %) keeps a version that is about to show that much.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, deque
from collections.abc import Mapping

import msgspec

from floop_robot.deploy.registry import LiveEpisode
from floop_robot.monitor.failure_monitor import FailureMonitor, MonitorState, failing_name
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.records import OutcomeCode
from floop_robot.stats.intervals import anytime_lower_bound, clopper_pearson_lower_bound
from floop_robot.stats.sequential_tests import evidence_below, is_shown_above

REFERENCE_WINDOW = 40
"""Older episodes of the replaced version do not count: the world may have changed since."""

MAX_RECENT_POLICIES = 32
"""Policies whose latest episodes are kept: those that robots acted on last. A watch compares two of them."""

FailingTasks = Mapping[str, tuple[str, ...]]
"""Failing classes, each with the robots that it fails on; () for all."""


class MonitorDecision(enum.StrEnum):
    """What is to be done with the watched version."""

    HOLD = "hold"
    """Not enough evidence yet: go on watching."""
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


class Tally(msgspec.Struct, frozen=True):
    """Successes out of episodes."""

    successes: int = 0
    episodes: int = 0

    def plus(self, success: bool) -> Tally:
        """One episode more."""
        return Tally(self.successes + success, self.episodes + 1)

    def corrected(self, success: bool) -> Tally:
        """One of its episodes was judged again, and is a success or none now."""
        return Tally(self.successes + (1 if success else -1), self.episodes)


class ClassReport(msgspec.Struct, frozen=True, kw_only=True):
    """A watched version on one class of tasks."""

    object_class: str
    """Or a class on the robots that it failed on, when the watch began: "box on robot_3"."""
    tally: Tally
    lower_bound: float
    reference: Tally
    """The replaced version's last episodes on it."""
    failing: bool
    """The class failed when the watch began: the new version must do well on it."""


class MonitorReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where the watch stands."""

    version: int
    decision: MonitorDecision
    reason: str
    evidence_of_harm: float
    """Rolls back at 2/α."""
    classes: tuple[ClassReport, ...]


class LiveState(msgspec.Struct, array_like=True):
    """`LiveStatistics` as plain values."""

    episodes: int
    since_ns: int
    tallies: dict[str, dict[str, Tally]]
    robots: dict[str, Tally]
    recent: dict[str, list[tuple[str, str, list[tuple[int, bool, int]]]]]
    failures: MonitorState


class WatchState(msgspec.Struct, array_like=True):
    """A `DeploymentMonitor` as plain values."""

    version: int
    reference: dict[str, Tally]
    tasks: dict[str, tuple[str, ...]]
    tallies: dict[str, Tally]
    rolled_back: str
    promoted: str
    futile: str


class LiveStatistics:
    """Live outcomes per policy, by its name, and perceived class; the same one under two versions count together.

    And per robot, of what was seen since `since_ns`.
    """

    def __init__(self, since_ns: int = 0) -> None:
        self.episodes = 0
        """How many were taken in, of every kind."""
        self._since_ns = since_ns
        self._tallies: dict[str, dict[str, Tally]] = {}
        # One entry for each name that ever worked: less than its episodes take on disk.
        self._robots: dict[str, Tally] = {}
        self._recent: OrderedDict[str, dict[tuple[str, str], deque[tuple[int, bool, int]]]] = OrderedDict()
        """By policy, then class and robot: number, outcome, and when it was seen (wall clock, ns)."""
        self._failures = FailureMonitor()

    @property
    def failing(self) -> FailingTasks:
        """Classes that fail on the robots now, counted over all weights."""
        return {name: self._failures.failing_robots(name) for name in self._failures.failing}

    def observe(self, sha256: str, episode: LiveEpisode) -> None:
        """Take in an episode on these weights; only production episodes count."""
        self.episodes += 1
        if not episode.production:
            return
        success = episode.outcome is OutcomeCode.SUCCESS
        if episode.observed_ns >= self._since_ns:
            self._robots[episode.robot] = self.of_robot(episode.robot).plus(success)
        classes = self._tallies.setdefault(sha256, {})
        classes[episode.object_class] = classes.get(episode.object_class, Tally()).plus(success)
        recent = self._recent.setdefault(sha256, {})
        self._recent.move_to_end(sha256)
        if len(self._recent) > MAX_RECENT_POLICIES:
            self._recent.popitem(last=False)
        recent.setdefault((episode.object_class, episode.robot), deque(maxlen=REFERENCE_WINDOW)).append(
            (self.episodes, success, episode.observed_ns)
        )
        self._failures.count((episode.robot, episode.boot_id, episode.episode), episode.object_class, success)

    def correct(self, sha256: str, was: LiveEpisode, now: LiveEpisode, number: int) -> None:
        """An episode on these weights, the `number`-th that was taken in, was judged again."""
        if not was.production or was.outcome == now.outcome:
            return
        success = now.outcome is OutcomeCode.SUCCESS
        if was.observed_ns >= self._since_ns:
            self._robots[was.robot] = self.of_robot(was.robot).corrected(success)
        classes = self._tallies.get(sha256, {})
        if was.object_class in classes:
            classes[was.object_class] = classes[was.object_class].corrected(success)
        recent = self._recent.get(sha256, {}).get((was.object_class, was.robot), deque())
        for index, (counted, _, seen_ns) in enumerate(recent):
            if counted == number:
                recent[index] = (counted, success, seen_ns)
        self._failures.correct((was.robot, was.boot_id, was.episode), success)

    def state(self) -> LiveState:
        """What `from_state` takes; shares what it holds until it goes on, so encode it at once."""
        recent = {
            sha256: [(name, robot, list(outcomes)) for (name, robot), outcomes in by_task.items()]
            for sha256, by_task in self._recent.items()
        }
        return LiveState(self.episodes, self._since_ns, self._tallies, self._robots, recent, self._failures.state())

    @classmethod
    def from_state(cls, state: LiveState, since_ns: int) -> LiveStatistics:
        """Go on where another one was; robots' own counts go on only where both begin at the same time."""
        live = cls(since_ns)
        live.episodes, live._tallies = state.episodes, state.tallies
        live._robots = state.robots if state.since_ns == since_ns else {}
        for sha256, by_task in state.recent.items():
            live._recent[sha256] = {(n, robot): deque(o, maxlen=REFERENCE_WINDOW) for n, robot, o in by_task}
        live._failures = FailureMonitor.from_state(state.failures)
        return live

    def tallies(self, sha256: str) -> Mapping[str, Tally]:
        """All episodes on these weights, by class."""
        return self._tallies.get(sha256, {})

    def of_robot(self, robot: str) -> Tally:
        """A robot's episodes since `since_ns`, on all weights."""
        return self._robots.get(robot, Tally())

    def recent(self, sha256: str, failing: FailingTasks | None = None) -> dict[str, Tally]:
        """The last `REFERENCE_WINDOW` episodes of each class, by `task_name`."""
        found: dict[str, list[tuple[int, bool, int]]] = {}
        for (name, robot), outcomes in self._recent.get(sha256, {}).items():
            found.setdefault(task_name(name, robot, failing or {}), []).extend(outcomes)
        latest = {name: sorted(outcomes)[-REFERENCE_WINDOW:] for name, outcomes in found.items()}
        return {name: Tally(sum(s for _, s, _ in outcomes), len(outcomes)) for name, outcomes in latest.items()}

    def worked_on_failing_ns(self, robot: str) -> int:
        """When this robot's last episode on tasks that fail now was seen, on any weights; 0 if there is none."""
        failing = self.failing
        seen = (
            outcomes[-1][2]
            for policy in self._recent.values()
            for (name, who), outcomes in policy.items()
            if who == robot and name in failing and (not failing[name] or robot in failing[name])
        )
        return max(seen, default=0)


def task_name(object_class: str, robot: str, failing: FailingTasks) -> str:
    """What an episode counts for: its class, or the class on the robots that it fails on if this is one of them."""
    robots = failing.get(object_class, ())
    return failing_name(object_class, robots) if robot in robots else object_class


class DeploymentMonitor:
    """One version in production, compared with the one it replaced."""

    def __init__(
        self,
        config: DeployConfig,
        version: int,
        reference: Mapping[str, Tally],
        failing: FailingTasks | None = None,
    ) -> None:
        """`reference`: `LiveStatistics.recent` of the replaced weights, now; `failing`: what fails now."""
        self.version = version
        self._alpha, self._confirm = config.alpha, config.confirm_success
        self._reference = dict(reference)
        self._rates = {
            name: clopper_pearson_lower_bound(t.successes, t.episodes, config.alpha / 2)
            for name, t in reference.items()
        }
        self._tasks = failing or {}
        names = {failing_name(name, robots) for name, robots in self._tasks.items()}
        self._failing = frozenset(names) & reference.keys()
        self._tallies: dict[str, Tally] = {}
        self._rolled_back = ""
        self._promoted = ""
        self._futile = ""

    @property
    def settled(self) -> bool:
        """Whether the next candidate need not wait: the version is confirmed, or will never be."""
        return bool(self._promoted or self._futile or self._rolled_back)

    @property
    def undecided(self) -> bool:
        """Whether the evidence is not yet halfway to a confirmation or a rollback, on the scale of its logarithm."""
        return not (self.settled or self.is_suspect or self._is_shown(math.sqrt(self._alpha)))

    @property
    def is_suspect(self) -> bool:
        """Whether the evidence of harm is halfway to a rollback."""
        return self.evidence_of_harm >= math.sqrt(2.0 / self._alpha)

    def observe(self, episode: LiveEpisode) -> MonitorDecision:
        """Take in an episode on the watched weights; ROLL_BACK is final, PROMOTE may still become ROLL_BACK."""
        if episode.production:
            name = task_name(episode.object_class, episode.robot, self._tasks)
            self._tallies[name] = self._tallies.get(name, Tally()).plus(episode.outcome is OutcomeCode.SUCCESS)
            if not self._rolled_back:
                self._judge()
        return self.decision

    def correct(self, episode: LiveEpisode) -> None:
        """An episode that was taken in was judged again, as it is now; a rollback that is due stays due."""
        name = task_name(episode.object_class, episode.robot, self._tasks)
        if episode.production and name in self._tallies:
            self._tallies[name] = self._tallies[name].corrected(episode.outcome is OutcomeCode.SUCCESS)
            self._promoted = self._futile = ""
            if not self._rolled_back:
                self._judge()

    def state(self) -> WatchState:
        """What `restore` takes."""
        tasks = {name: tuple(robots) for name, robots in self._tasks.items()}
        ended = (self._rolled_back, self._promoted, self._futile)
        return WatchState(self.version, self._reference, tasks, self._tallies, *ended)

    def restore(self, state: WatchState) -> None:
        """Go on where another one was, which began with the same reference and failing tasks."""
        self._tallies = dict(state.tallies)
        self._rolled_back, self._promoted, self._futile = state.rolled_back, state.promoted, state.futile

    def report_harm(self, reason: str) -> None:
        """Roll back for another reason than episodes."""
        self._rolled_back = self._rolled_back or reason

    @property
    def decision(self) -> MonitorDecision:
        """What the evidence says so far."""
        if self._rolled_back:
            return MonitorDecision.ROLL_BACK
        return MonitorDecision.PROMOTE if self._promoted else MonitorDecision.HOLD

    @property
    def evidence_of_harm(self) -> float:
        """Evidence against "it does at least as well as the replaced version"; 1 at the start."""
        if not self._rates:
            return 1.0
        logs = [evidence_below(*self._counts(name), rate) for name, rate in self._rates.items()]
        return sum(math.exp(min(value, 50.0)) for value in logs) / len(logs)

    def report(self) -> MonitorReport:
        """Where the watch stands."""
        names = sorted({*self._tallies, *self._reference})
        return MonitorReport(
            version=self.version,
            decision=self.decision,
            reason=self._rolled_back or self._promoted or self._futile or "not enough episodes yet",
            evidence_of_harm=self.evidence_of_harm,
            classes=tuple(
                ClassReport(
                    object_class=name,
                    tally=Tally(*self._counts(name)),
                    lower_bound=anytime_lower_bound(*self._counts(name), self._alpha),
                    reference=self._reference.get(name, Tally()),
                    failing=name in self._failing,
                )
                for name in names
            ),
        )

    def _counts(self, name: str) -> tuple[int, int]:
        tally = self._tallies.get(name, Tally())
        return tally.successes, tally.episodes

    def _judge(self) -> None:
        if self.evidence_of_harm >= 2.0 / self._alpha:
            worst = max(self._rates, key=lambda name: evidence_below(*self._counts(name), self._rates[name]))
            own, reference = self._tallies[worst], self._reference[worst]
            self._rolled_back = (
                f"{own.successes} of {own.episodes} on {worst}, the last proven version "
                f"{reference.successes} of {reference.episodes}"
            )
            return
        if self.settled:
            return
        wanted = self._wanted
        if self._is_shown(self._alpha):
            tasks = ", ".join(sorted(self._failing)) or "all tasks"
            bound = min(anytime_lower_bound(*counts, self._alpha) for counts in wanted)
            self._promoted = f"success on {tasks} is at least {bound:.2f}"
        elif any(evidence_below(*counts, self._confirm) >= -math.log(self._alpha) for counts in wanted):
            counted = " and ".join(f"{successes} of {episodes}" for successes, episodes in wanted)
            self._futile = f"success stays below {self._confirm:.2f}: {counted}"

    @property
    def _wanted(self) -> list[tuple[int, int]]:
        """Successes and episodes that a confirmation asks for."""
        return [self._counts(name) for name in self._failing] or [self._all_tasks()]

    def _is_shown(self, alpha: float) -> bool:
        return all(is_shown_above(*counts, self._confirm, alpha) for counts in self._wanted)

    def _all_tasks(self) -> tuple[int, int]:
        tallies = self._tallies.values()
        return sum(t.successes for t in tallies), sum(t.episodes for t in tallies)
