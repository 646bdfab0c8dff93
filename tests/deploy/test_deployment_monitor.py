"""DeploymentMonitor and its error rates, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from floop_robot.deploy.deployment_monitor import (
    MAX_RECENT_POLICIES,
    DeploymentMonitor,
    LiveStatistics,
    MonitorDecision,
    Tally,
)
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.records import ActMode, OutcomeCode, Source
from tests.support.in_process_fleet import Episodes

CONFIG = DeployConfig()
MAKE = Episodes().make


def watch_run(rng, reference: Tally, rate: float, episodes: int) -> tuple[MonitorDecision, int]:
    watch = DeploymentMonitor(CONFIG, 2, {"box": reference})
    for n in range(1, episodes + 1):
        if watch.observe(MAKE(2, rng.random() < rate)) is MonitorDecision.ROLL_BACK:
            return MonitorDecision.ROLL_BACK, n
    return watch.decision, episodes


@pytest.mark.parametrize(("rate", "runs"), [(0.8, 200), (0.97, 100), (0.3, 100)])
def test_equally_good_versions_are_hardly_ever_rolled_back(rate, runs):
    rng = np.random.default_rng(0)
    rolled = 0
    for _ in range(runs):
        reference = Tally(int(rng.binomial(40, rate)), 40)
        rolled += watch_run(rng, reference, rate, 150)[0] is MonitorDecision.ROLL_BACK
    assert rolled / runs <= CONFIG.alpha


def test_a_worse_version_is_found_soon():
    rng = np.random.default_rng(1)
    found = [watch_run(rng, Tally(int(rng.binomial(40, 0.8)), 40), 0.4, 200) for _ in range(100)]
    lengths = [n for decision, n in found if decision is MonitorDecision.ROLL_BACK]
    assert len(lengths) >= 90
    assert np.median(lengths) <= 35


def test_loss_on_one_class_is_not_hidden_by_gain_on_another():
    watch = DeploymentMonitor(CONFIG, 2, {"box": Tally(39, 40), "basket": Tally(10, 40)})
    for _ in range(30):
        watch.observe(MAKE(2, True, object_class="basket"))
        if watch.observe(MAKE(2, False, object_class="box")) is MonitorDecision.ROLL_BACK:
            break
    report = watch.report()
    assert report.decision is MonitorDecision.ROLL_BACK
    assert "box" in report.reason and "39 of 40" in report.reason


def test_confirmation_is_about_classes_that_failed():
    reference = {"box": Tally(40, 40), "basket": Tally(8, 30)}
    watch = DeploymentMonitor(CONFIG, 2, reference, failing={"basket": (), "sphere": ()})
    for _ in range(40):
        watch.observe(MAKE(2, True, object_class="box"))
    assert watch.decision is MonitorDecision.HOLD
    needed = 1
    while watch.observe(MAKE(2, True, object_class="basket")) is not MonitorDecision.PROMOTE:
        needed += 1
    assert 9 <= needed <= 20
    assert {c.object_class: c.failing for c in watch.report().classes} == {"basket": True, "box": False}


def test_a_class_that_failed_on_one_robot_is_confirmed_there():
    """Boxes succeed on three robots. Their episodes tell nothing about the fourth, and its own nothing about theirs."""
    record = LiveStatistics()
    for i in range(80):
        robot = f"robot_{i % 4 + 1}"
        record.observe("weights", MAKE(1, robot != "robot_4" or i < 8, robot=robot))
    assert record.failing == {"box": ("robot_4",)}
    reference = record.recent("weights", record.failing)
    assert reference == {"box": Tally(40, 40), "box on robot_4": Tally(2, 20)}

    watch = DeploymentMonitor(CONFIG, 2, reference, record.failing)
    for i in range(90):
        watch.observe(MAKE(2, True, robot=f"robot_{i % 3 + 1}"))
    assert watch.decision is MonitorDecision.HOLD, "it is not shown where it failed"
    while watch.observe(MAKE(2, True, robot="robot_4")) is MonitorDecision.HOLD:
        pass
    assert watch.decision is MonitorDecision.PROMOTE and "box on robot_4" in watch.report().reason
    for _ in range(60):
        watch.observe(MAKE(2, False, robot="robot_2"))
    assert watch.decision is MonitorDecision.ROLL_BACK, "success there hides no harm on the others"


def test_a_new_class_of_tasks_is_no_harm():
    watch = DeploymentMonitor(CONFIG, 2, {"box": Tally(40, 40)})
    for _ in range(60):
        watch.observe(MAKE(2, False, object_class="basket"))
    assert watch.decision is MonitorDecision.HOLD


@pytest.mark.parametrize(
    "changes",
    [
        {"source": Source.EXPLORER},
        {"source": Source.DEMONSTRATION},
        {"act_mode": ActMode.SAMPLE},
        {"outcome": OutcomeCode.ABORTED},
        {"version": 0},
    ],
)
def test_only_production_episodes_count(changes):
    watch, record = DeploymentMonitor(CONFIG, 2, {"box": Tally(40, 40)}), LiveStatistics()
    for _ in range(40):
        episode = MAKE(**({"version": 2, "success": False} | changes))
        watch.observe(episode)
        record.observe("weights", episode)
    assert watch.decision is MonitorDecision.HOLD and watch.evidence_of_harm == 1.0
    assert record.tallies("weights") == {}


def test_the_reference_is_a_window():
    record = LiveStatistics()
    for success in [False] * 100 + [True] * 40:
        record.observe("weights", MAKE(1, success))
    assert record.recent("weights") == {"box": Tally(40, 40)}
    assert record.tallies("weights") == {"box": Tally(40, 140)}


def test_only_the_policies_that_acted_last_keep_their_window():
    record = LiveStatistics()
    for policy in range(MAX_RECENT_POLICIES + 1):
        record.observe(f"weights {policy}", MAKE(policy + 1, True))
    assert record.recent("weights 0") == {} and record.recent("weights 1") == {"box": Tally(1, 1)}
    assert record.tallies("weights 0") == {"box": Tally(1, 1)}
