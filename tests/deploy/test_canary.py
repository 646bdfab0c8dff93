"""A candidate for what can't be simulated: one robot tries it, then all get it or none."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import InstallStage, Receipt, ReceiptReport, Refusal
from floop_robot.cli.status import _text
from floop_robot.deploy import Hold, Pin, Resume
from floop_robot.deploy.canary import CanaryDecision, CanaryWatch
from floop_robot.deploy.deployment_monitor import Tally
from floop_robot.deploy.messages import CandidateSubmission, Reply, SubmissionResult
from floop_robot.deploy.registry import CandidateState, Registry
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.verdict import Decision
from tests.support.in_process_fleet import CONFIG, Episodes, FleetHarness, S, verdict
from tests.support.sample_bundles import IDS, make_bundle
from tests.support.sample_history import version

WITH_CANARY = msgspec.structs.replace(CONFIG, canary="robot_1", canary_s=60.0)
NEW = "reserved_5"
"""A class without a model."""


class CanaryFleet(FleetHarness):
    """Two robots; robot_1 may try what can't be simulated."""

    def offer(self, seed: int, incumbent: int) -> SubmissionResult:
        answer = self.submit_for_canary(make_bundle(seed), incumbent)
        assert isinstance(answer, SubmissionResult), answer
        return answer

    def submit_for_canary(self, bundle: Bundle, incumbent: int, decision: Decision = Decision.INCONCLUSIVE) -> Reply:
        found = msgspec.structs.replace(verdict(bundle, incumbent, decision), canary=True)
        return self.fleet.handle(CandidateSubmission(who="gate", verdict=found, bundle=bundle.to_bytes()))

    def work(self, version: int, robot: str, outcomes: list[bool], object_class: str = NEW) -> None:
        made = []
        for success in outcomes:
            self.now_ns += S // 10
            made.append(
                self.episodes.make(version, success, object_class=object_class, robot=robot, observed_ns=self.now_ns)
            )
        self.fleet.observe(made, self.episodes.read())

    def meet_the_new_class(self) -> None:
        """Both robots succeed at boxes and fail at the new class."""
        for robot in ("robot_1", "robot_2"):
            self.work(1, robot, [True] * 20, "box")
            self.work(1, robot, [False] * 6)

    @property
    def targets(self) -> tuple[int, int]:
        return self.target("robot_1"), self.target("robot_2")

    @property
    def audit(self) -> list[str]:
        return [f"{entry.what} {entry.detail}" for entry in self.registry.audit()]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[CanaryFleet]:
    fleet = CanaryFleet(tmp_path, WITH_CANARY)
    fleet.meet_the_new_class()
    yield fleet
    fleet.registry.close()


def test_one_robot_tries_it_and_all_get_it_when_it_does_better(fleet: CanaryFleet) -> None:
    answer = fleet.offer(1, 1)
    assert answer.state is CandidateState.CANARY
    assert fleet.targets == (2, 1)
    status = fleet.fleet.status()
    assert (status.production, status.canary_robot, status.canary.version) == (1, "robot_1", 2)
    assert "robot_1 alone tries v2: " in _text(status, Path("elsewhere"))
    assert fleet.offer(2, 1).state is CandidateState.INCONCLUSIVE, "one at a time"
    fleet.work(1, "robot_2", [False] * 10)
    fleet.work(2, "robot_1", [True] * 8, "box")
    assert fleet.targets == (2, 1), "boxes say nothing about the new class"
    fleet.work(2, "robot_1", [True] * 12)
    production = fleet.fleet.status().production
    assert production > 2 and fleet.targets == (production, production)
    assert fleet.registry.bundle(production).manifest.sha256 == make_bundle(1).manifest.sha256
    assert fleet.fleet.status().watch.version == production, "it is watched on all robots, too"
    assert any("better on robot_1: " in line for line in fleet.audit)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"ids": msgspec.structs.replace(IDS, contract="another")}, "contract"), ({"checks": ()}, "checks")],
)
def test_a_canary_gets_no_candidate_that_robots_would_refuse(
    fleet: CanaryFleet, changes: dict[str, Any], reason: str
) -> None:
    good = make_bundle(1)
    answer = fleet.submit_for_canary(Bundle(msgspec.structs.replace(good.manifest, **changes), good.tensors), 1)
    assert isinstance(answer, Refusal) and reason in answer.reason and "\n" not in answer.reason
    assert fleet.targets == (1, 1) and fleet.fleet.status().canary is None
    assert len(fleet.registry.versions()) == 1 and not fleet.registry.candidates()


@pytest.mark.parametrize("decision", [Decision.ACCEPTED, Decision.REJECTED])
def test_a_canary_tries_only_what_is_inconclusive(fleet: CanaryFleet, decision: Decision) -> None:
    answer = fleet.submit_for_canary(make_bundle(1), 1, decision)
    assert isinstance(answer, Refusal) and f"the verdict is {decision}" in answer.reason
    assert fleet.targets == (1, 1) and not fleet.registry.candidates()


def test_without_a_result_in_time_the_robot_goes_back(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    fleet.now_ns += 30 * S
    fleet.work(2, "robot_1", [True, False] * 4)
    fleet.now_ns += 31 * S
    fleet.fleet.tick()
    production = fleet.fleet.status().production
    assert production == 3 and fleet.targets == (3, 3)
    assert fleet.registry.bundle(3).manifest.sha256 == make_bundle(0).manifest.sha256
    assert any("not shown to be better on robot_1 in time: 4 of 8" in line for line in fleet.audit)
    assert fleet.fleet.status().canary is None and not fleet.registry.directive("robot_1").pin
    assert fleet.offer(2, 3).state is CandidateState.CANARY, "the next may be tried"


@pytest.mark.parametrize("works_on", [None, "box"])
def test_a_robot_that_does_no_failing_task_is_asked_once(fleet: CanaryFleet, works_on: str | None) -> None:
    """One that is off, or has other work: each further try would be two versions for nothing."""
    fleet.offer(1, 1)
    fleet.now_ns += 61 * S
    fleet.fleet.tick()
    production = fleet.fleet.status().production
    for seed in (2, 3):
        if works_on:
            fleet.work(production, "robot_1", [True] * 5, works_on)
        fleet.work(production, "robot_2", [False] * 2)
        assert fleet.offer(seed, production).state is CandidateState.INCONCLUSIVE
        fleet.now_ns += 61 * S
        fleet.fleet.tick()
    assert fleet.targets == (production, production)
    fleet.work(production, "robot_1", [False])
    assert fleet.offer(4, production).state is CandidateState.CANARY, "it is back"


def test_a_candidate_is_stored_with_the_version_that_the_robot_tries(fleet: CanaryFleet) -> None:
    answer = fleet.offer(1, 1)
    assert (answer.version, answer.new) == (2, True)
    again = fleet.offer(1, 1)
    assert (again.state, again.version, again.new) == (CandidateState.CANARY, 2, False)
    fleet.restart()
    (stored,) = fleet.registry.candidates()
    assert (stored.state, stored.version) == (CandidateState.CANARY, 2)


def test_killed_while_a_candidate_is_stored_it_can_be_offered_again(fleet: CanaryFleet) -> None:
    """SIGKILL between candidate and version: after the restart neither is there."""
    fleet.registry.close()
    killed = multiprocessing.get_context("spawn").Process(target=_offer_and_die, args=(fleet.path, fleet.now_ns))
    killed.start()
    killed.join(60.0)
    assert killed.exitcode == -signal.SIGKILL
    fleet.restart()
    assert fleet.registry.candidates() == [] and fleet.targets == (1, 1)
    answer = fleet.offer(1, 1)
    assert (answer.state, answer.new) == (CandidateState.CANARY, True)
    assert fleet.targets == (answer.version, 1)
    assert fleet.fleet.status().canary.version == answer.version


def _offer_and_die(path: Path, now_ns: int) -> None:
    fleet = CanaryFleet(path.parent, WITH_CANARY)
    fleet.now_ns = now_ns
    submit = Registry.submit

    def submit_and_die(*arguments: Any, **options: Any) -> None:
        submit(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)

    Registry.submit = submit_and_die  # type: ignore[method-assign, assignment]
    fleet.offer(1, 1)


def test_harm_on_known_tasks_sends_it_back_at_once(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    fleet.work(2, "robot_1", [False] * 12, "box")
    assert fleet.targets == (3, 3)
    assert any("worse on robot_1: " in line for line in fleet.audit)


def test_nan_from_it_sends_it_back_at_once(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    receipt = Receipt(
        robot="robot_1", version=2, stage=InstallStage.REFUSED, since_received_s=0.0, detail="NaN", fallback_version=1
    )
    fleet.fleet.handle(ReceiptReport(receipt=receipt))
    assert fleet.targets == (3, 3)


def test_the_watch_survives_a_restart(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    fleet.work(2, "robot_1", [True] * 5)
    before = fleet.fleet.status().canary
    fleet.restart()
    assert fleet.fleet.status().canary == before
    fleet.work(2, "robot_1", [True] * 12)
    assert fleet.targets == (3, 3)


def test_a_robot_that_may_try_nothing_any_more_goes_back(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    fleet.config = CONFIG
    fleet.restart()
    fleet.fleet.tick()
    assert fleet.targets == (3, 3)


def test_a_version_for_all_ends_it(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    fleet.submit(3, 1)
    assert fleet.targets == (3, 3)
    (announcement,) = [each for each in fleet.fleet.take_announcements() if each.version == 3]
    assert "robot_1" not in announcement.but, "it hears of the version, too"
    fleet.now_ns += 61 * S
    fleet.fleet.tick()
    assert fleet.targets == (3, 3)


def test_without_a_configured_canary_nothing_changes(tmp_path: Path) -> None:
    fleet = CanaryFleet(tmp_path, CONFIG)
    fleet.meet_the_new_class()
    assert fleet.offer(1, 1).state is CandidateState.INCONCLUSIVE
    assert fleet.targets == (1, 1)
    fleet.registry.close()


def test_operators_come_first(fleet: CanaryFleet) -> None:
    fleet.command(Hold, scope="robot_1")
    assert fleet.offer(1, 1).state is CandidateState.INCONCLUSIVE, "a held robot tries nothing"
    fleet.command(Resume, scope="robot_1")
    fleet.command(Hold, scope="fleet")
    assert fleet.offer(2, 1).state is CandidateState.INCONCLUSIVE, "nor does a robot of a held fleet"
    fleet.command(Resume, scope="fleet")
    assert fleet.offer(3, 1).state is CandidateState.CANARY
    tried = fleet.target("robot_1")
    fleet.command(Hold, scope="robot_1")
    fleet.fleet.tick()
    assert fleet.target("robot_1") == tried, "an operator holds it on what it tries"
    fleet.now_ns += 61 * S
    fleet.fleet.tick()
    assert fleet.target("robot_1") == fleet.fleet.status().production > tried, "a hold stops no rollback"
    assert fleet.fleet.status().canary is None
    assert fleet.registry.directive("robot_1").hold == fleet.target("robot_1"), "and it is held still"
    fleet.command(Resume, scope="robot_1")
    assert fleet.target("robot_1") == fleet.fleet.status().production


def test_a_pinned_robot_ends_it(fleet: CanaryFleet) -> None:
    fleet.offer(1, 1)
    fleet.command(Pin, scope="robot_1", version=1)
    pinned = fleet.target("robot_1")
    assert fleet.registry.bundle(pinned).manifest.sha256 == make_bundle(0).manifest.sha256
    fleet.now_ns += 61 * S
    fleet.fleet.tick()
    assert fleet.target("robot_1") == pinned and fleet.target("robot_2") == 1


def test_a_version_that_is_no_better_hardly_ever_reaches_all() -> None:
    """60 versions of 30 % on the failing class, as before: 5 % may."""
    config, rng, make = DeployConfig(canary="robot_1"), np.random.default_rng(0), Episodes().make
    decisions = []
    for _ in range(60):
        reference = {NEW: Tally(int(rng.binomial(30, 0.3)), 30), "box": Tally(39, 40)}
        watch = CanaryWatch(config, "robot_1", version(2, 0.0), reference, {NEW: ()})
        decision = CanaryDecision.GO_ON
        for _ in range(60):
            watch.observe(make(2, bool(rng.random() < 0.3), object_class=NEW))
            if (decision := watch.decide(0)[0]) is not CanaryDecision.GO_ON:
                break
        decisions.append(decision)
    assert decisions.count(CanaryDecision.TO_ALL) <= 3
