"""A fleet manager in this process, and robots that act, for tests of deployment."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from floop_robot.bundle import Actor, Bundle
from floop_robot.bundle.delivery import Heartbeat
from floop_robot.deploy import (
    CommandResult,
    Drain,
    FleetClient,
    FleetCommand,
    FleetRequestHandler,
    FleetServer,
    Hold,
    LiveBatch,
    Pin,
    Policies,
    Push,
    RequestQueue,
    Resume,
    Robots,
    Rollback,
    SubmissionResult,
)
from floop_robot.deploy.messages import CandidateSubmission, GetNews, GetPolicies, GetRobots, News
from floop_robot.deploy.peer_secrets import site_secret
from floop_robot.deploy.registry import FLEET, CandidateInfo, JournalPosition, LiveEpisode, Registry
from floop_robot.robot.policy_updater import PolicyUpdater, UpdaterConfig
from floop_robot.spec.calibration import NO_OFFSET, Offset
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, OutcomeCode, Source
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.verdict import Decision, Verdict
from tests.support.sample_bundles import IDS, TASK, make_bundle

S = 1_000_000_000
CONFIG = DeployConfig(heartbeat_s=0.1, watch_s=20.0, confirm_success=0.6)
"""A dozen episodes show 60 %."""


def verdict(bundle: Bundle, incumbent: int = 1, decision: Decision = Decision.ACCEPTED, seed: int = 1) -> Verdict:
    return Verdict(
        decision=decision,
        reason="better on target tasks",
        candidate_sha256=bundle.manifest.sha256,
        incumbent_version=incumbent,
        suites=(),
        seed=seed,
        alpha=0.05,
        duration_s=0.25,
    )


class Episodes:
    """Makes episode ends with keys of their own."""

    def __init__(self) -> None:
        self._number = 0

    def make(
        self, version: int, success: bool, *, object_class: str = "box", observed_ns: int = 0, **changes
    ) -> LiveEpisode:
        self._number += 1
        fields = {
            "robot": "robot_1",
            "boot_id": "boot",
            "episode": self._number,
            "block": self._number,
            "source": Source.ROBOT,
            "version": version,
            "act_mode": ActMode.MEAN,
            "outcome": OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
            "object_class": object_class,
            "duration_s": 2.0,
            "steps": 40,
            "observed_ns": observed_ns,
        }
        return LiveEpisode(**(fields | changes))

    def read(self) -> JournalPosition:
        return JournalPosition(self._number, "journal")


class QueueFeed:
    """An episode feed that a test fills."""

    def __init__(self) -> None:
        self.batches: list[LiveBatch] = []
        self.episodes = Episodes()

    def put(self, version: int, outcomes: list[bool], object_class: str = "box", **changes) -> None:
        changes |= {"object_class": object_class, "observed_ns": time.time_ns()}
        made = [self.episodes.make(version, success, **changes) for success in outcomes]
        self.batches.append(LiveBatch(tuple(made), self.episodes.read()))

    def take(self) -> LiveBatch | None:
        return self.batches.pop(0) if self.batches else None


class OperatorClient(FleetClient):
    """A client with a method for each question and each command."""

    def __init__(
        self,
        endpoint: str,
        who: str = "anna@bench",
        timeout_s: float = 5.0,
        token: str = "",
        run_dir: Path | None = None,
    ) -> None:
        """`run_dir`: of a real fleet manager, which takes verdicts with its site's secret only."""
        super().__init__(endpoint, timeout_s)
        self.who, self.token = who, token
        self.secret = site_secret(run_dir) if run_dir else ""

    def policies(self) -> Policies:
        return self.ask(GetPolicies(), Policies)

    def robots(self) -> Robots:
        return self.ask(GetRobots(), Robots)

    def candidates(self) -> tuple[CandidateInfo, ...]:
        return self.ask(GetNews(candidates_after=0), News).candidates

    def submit(self, bundle: Bundle, verdict: Verdict) -> SubmissionResult:
        submission = CandidateSubmission(who=self.who, verdict=verdict, bundle=bundle.to_bytes(), secret=self.secret)
        return self.ask(submission, SubmissionResult)

    def give(self, kind: type[FleetCommand], **fields: Any) -> CommandResult:
        command: Any = kind(who=self.who, token=self.token, **fields)
        return self.send_command(command)

    def push(self, bundle: Bundle, why: str = "", scope: str = FLEET) -> CommandResult:
        return self.give(Push, bundle=bundle.to_bytes(), why=why, scope=scope)

    def push_version(self, version: int) -> CommandResult:
        return self.give(Push, version=version)

    def rollback(self, version: int = 0, why: str = "") -> CommandResult:
        return self.give(Rollback, version=version, why=why)

    def pin(self, scope: str, version: int, why: str = "") -> CommandResult:
        return self.give(Pin, scope=scope, version=version, why=why)

    def hold(self, scope: str, why: str = "") -> CommandResult:
        return self.give(Hold, scope=scope, why=why)

    def resume(self, scope: str, why: str = "") -> CommandResult:
        return self.give(Resume, scope=scope, why=why)

    def drain(self, scope: str, drain: bool = True, why: str = "") -> CommandResult:
        return self.give(Drain, scope=scope, drain=drain, why=why)


class ManagerThread:
    """FleetRequestHandler, server and registry, the way the fleet manager's process wires them, in a thread."""

    def __init__(self, folder: Path, config: DeployConfig = CONFIG, baseline: Bundle | None = None) -> None:
        self.feed = QueueFeed()
        self.requests = RequestQueue()
        self.path = folder / "registry.sqlite"
        self._config, self._baseline = config, baseline or make_bundle(0)
        self.stopping = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="manager")
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        registry = Registry(self.path)
        fleet = FleetRequestHandler(registry, self._config, TASK, IDS, time.time_ns)
        server = FleetServer(fleet, "tcp://127.0.0.1:0", "tcp://127.0.0.1:0", self.requests)
        fleet.publish_baseline(self._baseline)
        self.announcements, self.rpc = server.endpoints
        self._ready.set()
        try:
            server.run(self.feed, self.stopping)
        finally:
            server.close()
            registry.close()

    def client(self, who: str = "anna@bench") -> OperatorClient:
        return OperatorClient(self.rpc, who)

    def stop(self) -> None:
        self.stopping.set()
        self._thread.join()


class Hanging:
    """A feed that hangs, as a disk does, so that the manager serves nobody meanwhile."""

    def __init__(self, manager: ManagerThread) -> None:
        self.goes_on, hangs = threading.Event(), threading.Event()
        self._feed, self._take = manager.feed, manager.feed.take

        def take() -> LiveBatch | None:
            hangs.set()
            self.goes_on.wait()
            return None

        manager.feed.take = take
        assert hangs.wait(20)

    def __enter__(self) -> Hanging:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._feed.take = self._take
        self.goes_on.set()


class ActingPolicyBuffer:
    """A control loop of its own at 200 Hz that swaps policies between two steps."""

    def __init__(self, task: TaskSpec = TASK) -> None:
        self._observation = np.zeros(task.observation.size, np.float32)
        self._next: tuple[int, Actor] | None = None
        self._first: dict[int, float] = {}
        self.last_fallback: tuple[int, int] | None = None
        self.acting = 0
        self.steps = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def offer(self, version: int, actor: Actor, correction_m: Offset = NO_OFFSET) -> None:
        self._next = version, actor

    def first_step_s(self, version: int) -> float | None:
        return self._first.get(version)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            current = self._next
            if current is None:
                continue
            version, actor = current
            action = actor.mean(self._observation)
            assert np.isfinite(action).all()
            self._first.setdefault(version, time.monotonic())
            self.acting = version
            self.steps += 1


class Robot:
    """An updater and its control loop."""

    def __init__(
        self,
        folder: Path,
        name: str,
        announcements: str,
        rpc: str,
        task: TaskSpec = TASK,
        ids: Ids = IDS,
    ) -> None:
        self.policy_buffer = ActingPolicyBuffer(task)
        self.notices: list[str] = []
        config = UpdaterConfig(
            robot=name,
            boot_id="boot",
            announcements=announcements,
            rpc=rpc,
            folder=folder / name,
            heartbeat_s=CONFIG.heartbeat_s,
        )
        self.updater = PolicyUpdater(config, task, ids, self.policy_buffer, self.notices.append)
        self.updater.start()

    def stop(self) -> None:
        self.updater.stop()
        self.policy_buffer.stop()


class FleetHarness:
    """A fleet on disk that can be restarted."""

    def __init__(self, folder, config=CONFIG):
        self.path, self.now_ns, self.calls = folder / "registry.sqlite", S, 0
        self.config = config
        self.episodes = Episodes()
        self._open()
        self.fleet.publish_baseline(make_bundle(0))

    def _open(self):
        self.registry = Registry(self.path)
        self.fleet = FleetRequestHandler(self.registry, self.config, TASK, IDS, lambda: self.now_ns)
        self.fleet.register_robots(["robot_1", "robot_2"])

    def restart(self):
        self.registry.close()
        self._open()

    def command(self, kind, call_id="", **fields):
        self.calls += 1
        return self.fleet.handle(kind(call_id=call_id or f"c{self.calls}", who="anna", **fields))

    def submit(self, seed, incumbent, decision=Decision.ACCEPTED):
        bundle = make_bundle(seed)
        return self.fleet.handle(
            CandidateSubmission(who="gate", verdict=verdict(bundle, incumbent, decision), bundle=bundle.to_bytes())
        )

    def live(self, version, outcomes, object_class="box"):
        for success in outcomes:
            self.now_ns += S // 10
            made = self.episodes.make(version, success, object_class=object_class, observed_ns=self.now_ns)
            self.fleet.observe([made], self.episodes.read())

    def target(self, robot="robot_1"):
        beat = Heartbeat(robot=robot, boot_id="b", contract=IDS.contract, version=0)
        return self.fleet.handle(beat).version
