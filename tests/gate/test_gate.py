"""The gate on real PyBullet episodes: who passes, who doesn't, and what a trial is about."""

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
import numpy as np
import pytest

from floop_envs.scenarios import TrainingScenarios
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.core import EpisodeJob, EpisodeOutcome
from floop_robot.gate import pybullet_worker
from floop_robot.gate.alpha_wealth import FIRST_SHARE
from floop_robot.gate.executor import InProcessExecutor
from floop_robot.gate.gate import WAITS, Gate, GateCounts, GateResult, Offer
from floop_robot.gate.interfaces import MAX_LOADED_POLICIES, EpisodeFailed
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.gate.rejected_weights import MAX_REJECTED, SAME_WEIGHTS, RejectedWeights
from floop_robot.gate.report import markdown
from floop_robot.gate.report_log import read_reports
from floop_robot.gate.reported_tasks import TargetTasks, target_tasks
from floop_robot.gate.scenario_pool import PairedScenarioPool
from floop_robot.gate.suites import Suite, SuiteCounts
from floop_robot.gate.trial import HOPELESS_PAIRS, PREEMPTION_PAIRS, Trial
from floop_robot.gate.trial_runner import MAX_LOST_PAIRS, TrialRunner
from floop_robot.monitor.failure_monitor import RESOLVED_WINDOW
from floop_robot.spec.config import DeployConfig, FloopConfig, GateConfig
from floop_robot.spec.errors import BundleRefused, ContractMismatch
from floop_robot.spec.records import Source
from floop_robot.spec.simulator_fit import fit_event
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Decision
from tests.support.fake_runners import PidRunner
from tests.support.sample_fits import calibration_fit
from tests.support.sample_policies import TASK, clumsy, collapsed, episode_end, published, skilled
from tests.support.sample_records import stream_info
from tests.support.waiting import wait_for

HEALTHY = GateConfig(workers=1, trials_while_healthy=True)
"""Most of what a trial does needs nothing that fails."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    pool = ProcessPool(workers=1, task=TASK, robot="panda")
    yield pool
    pool.close()


@pytest.fixture
def gate(pool: ProcessPool, tmp_path: Path) -> Gate:
    return Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), pool)


def judge(gate: Gate, candidate: Bundle) -> GateResult:
    gate.offer(candidate.to_bytes())
    deadline = time.monotonic() + 120.0
    while time.monotonic() < deadline:
        judged = gate.step(0.2)
        if judged is not None:
            return judged
    raise AssertionError("no verdict")


def test_a_policy_that_succeeds_replaces_one_that_often_fails(gate: Gate, tmp_path: Path) -> None:
    gate.set_incumbent(published(clumsy(), 3))
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=i % 2 == 0, episode=i))
    judged = judge(gate, skilled())
    verdict = judged.verdict
    assert verdict.decision is Decision.ACCEPTED, verdict.reason
    assert verdict.reason.startswith("better on cylinder")
    assert verdict.incumbent_version == 3
    assert verdict.candidate_sha256 == skilled().manifest.sha256
    target_tasks, regression = verdict.suites
    assert (target_tasks.name, regression.name) == ("target: cylinder", "known tasks")
    assert target_tasks.candidate_successes > target_tasks.incumbent_successes
    assert (
        target_tasks.candidate_interval[0]
        < target_tasks.candidate_successes / target_tasks.episodes
        <= target_tasks.candidate_interval[1]
    )
    # Of every pair that was used or is prepared: by it trials know what to expect.
    known, ready = gate._scenario_pool.known, gate._scenario_pool._ready
    for counts, suite, name in (
        (known.target, target_tasks, Suite.TARGET),
        (known.regression, regression, Suite.REGRESSION),
    ):
        prepared = [pair.incumbent.result().success for pair in ready[name] if pair.incumbent.done()]
        assert counts == (suite.incumbent_successes + sum(prepared), suite.episodes + len(prepared))
    (stored,) = read_reports(tmp_path / "gate")
    page = markdown(stored)
    assert "accepted" in page
    assert "better on cylinder" in page.lower()
    assert len({p.seed for p in stored.pairs}) == len(stored.pairs) == target_tasks.episodes + regression.episodes


def test_a_policy_worse_on_known_tasks_is_rejected(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 1))
    verdict = judge(gate, clumsy()).verdict
    assert verdict.decision is Decision.REJECTED
    assert "known tasks got worse" in verdict.reason


def test_a_collapsed_policy_is_rejected_within_three_pairs(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 1))
    verdict = judge(gate, collapsed()).verdict
    assert verdict.decision is Decision.REJECTED
    assert sum(s.episodes for s in verdict.suites) <= 3


def test_a_verdict_stands_where_its_report_cannot_be_written(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("floop_robot.gate.report_log.write_all", full)
    gate.set_incumbent(published(skilled(), 1))
    assert judge(gate, collapsed(3)).verdict.decision is Decision.REJECTED


def test_the_same_policy_is_not_accepted_against_itself_and_seeds_are_never_used_twice(
    gate: Gate, pool: ProcessPool, tmp_path: Path
) -> None:
    gate.set_incumbent(published(skilled(), 1))
    offer = gate.offer(published(skilled(), 2).to_bytes())
    assert (offer.taken, offer.reason) == (False, f"{SAME_WEIGHTS} (v1 in production)")
    assert not gate.busy and gate.counts.not_judged == 1
    first = judge(gate, collapsed(1)).report
    again = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), pool)
    again.set_incumbent(published(skilled(), 1))
    second = judge(again, collapsed(2)).report
    seeds = [{pair.seed for pair in report.pairs} for report in (first, second)]
    assert not seeds[0] & seeds[1]


def test_rejected_weights_are_judged_again_only_where_something_else_fails_or_another_policy_works(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 1))
    reason = judge(gate, collapsed(1)).verdict.reason
    again = gate.offer(collapsed(1).to_bytes())
    why_not = f"these weights were rejected against v1 already: {reason}"
    assert again == Offer(collapsed(1).manifest.sha256, False, why_not)
    gate.reconsider(collapsed(1))
    assert not gate.busy and gate.counts.not_judged == 1
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=i % 2 == 0, episode=i))
    gate.step(0.0)
    assert judge(gate, collapsed(1)).verdict.decision is Decision.REJECTED, "cylinders fail now"
    assert not gate.offer(collapsed(1).to_bytes()).taken
    gate.set_incumbent(published(skilled(), 2))
    assert not gate.offer(collapsed(1).to_bytes()).taken, "the same weights under another number"
    gate.set_incumbent(published(clumsy(), 3))
    assert gate.offer(collapsed(1).to_bytes()).taken


def test_a_gate_that_is_started_again_goes_on_with_its_budgets_and_judges_no_rejected_weights(
    gate: Gate, pool: ProcessPool, tmp_path: Path
) -> None:
    gate.set_incumbent(published(skilled(), 1))
    judge(gate, collapsed(1))
    gate.offer(_nearly(skilled()).to_bytes())
    verdict = _wait(gate).verdict
    assert verdict.decision is not Decision.ACCEPTED
    left = gate._history.budgets(()).improvement.stake
    assert left < FIRST_SHARE * gate._config.gate.alpha

    def again(alpha: float = 0.05) -> Gate:
        return Gate(FloopConfig(run_dir=str(tmp_path), gate=msgspec.structs.replace(HEALTHY, alpha=alpha)), pool)

    same = again()
    same.set_incumbent(published(skilled(), 1))
    assert same._history.budgets(()).improvement.stake == left
    assert "rejected against v1 already" in same.offer(collapsed(1).to_bytes()).reason
    for other, incumbent in ((again(), clumsy()), (again(alpha=0.1), skilled())):
        other.set_incumbent(published(incumbent, 2))
        assert not other._history.budgets(()).improvement.trials and other.offer(collapsed(1).to_bytes()).taken
    path = tmp_path / "gate" / "history.json"
    path.write_bytes(path.read_bytes()[:-20])
    anew = again()
    anew.set_incumbent(published(skilled(), 1))
    assert anew.offer(collapsed(1).to_bytes()).taken


def test_a_candidate_that_has_become_the_incumbent_is_not_judged(gate: Gate) -> None:
    assert gate.offer(skilled().to_bytes()).taken, "no incumbent is known yet"
    gate.set_incumbent(published(skilled(), 1))
    assert not gate.busy and gate.counts.not_judged == 1


def test_rejected_weights_are_remembered_within_a_bound() -> None:
    rejected = RejectedWeights()
    for i in range(MAX_REJECTED + 1):
        rejected.add((), str(i), "worse")
        assert rejected.reason((), "0") if i < MAX_REJECTED else True  # asked about all the time
    assert rejected.reason((), "0") == "worse" and not rejected.reason((), "1")
    assert rejected.reason((), "2") and not rejected.reason(("box",), "2")


def test_many_candidates_in_a_row_never_push_the_incumbent_out(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 1))
    for seed in range(10, 12 + MAX_LOADED_POLICIES):
        assert judge(gate, collapsed(seed)).verdict.decision is Decision.REJECTED
    assert gate.counts.rejected == MAX_LOADED_POLICIES + 2


def test_newest_candidate_wins_and_the_others_are_counted(gate: Gate) -> None:
    for seed in range(3):
        gate.offer(collapsed(seed).to_bytes())
    gate.set_incumbent(published(skilled(), 1))
    assert judge(gate, collapsed(2)).verdict.candidate_sha256 == collapsed(2).manifest.sha256
    assert gate.counts.superseded == 2
    assert gate.counts.rejected == 1


def test_the_gate_rests_after_a_candidate_that_was_not_accepted(pool: ProcessPool, tmp_path: Path) -> None:
    gate = Gate(
        FloopConfig(
            run_dir=str(tmp_path), gate=msgspec.structs.replace(HEALTHY, cooldown_share=1e6, max_cooldown_s=1e6)
        ),
        pool,
    )
    gate.set_incumbent(published(skilled(), 1))
    assert judge(gate, collapsed(1)).verdict.decision is Decision.REJECTED
    gate.offer(collapsed(2).to_bytes())
    assert not gate.busy
    assert gate.step(0.0) is None and not gate.busy
    gate.set_incumbent(published(skilled(), 2))  # a rest ends with what it was for
    assert gate.busy
    for number, setting in enumerate(({"cooldown_share": 0.0}, {"cooldown_share": 1e6, "max_cooldown_s": 0.0})):
        config = FloopConfig(run_dir=str(tmp_path / str(number)), gate=msgspec.structs.replace(HEALTHY, **setting))
        ready = Gate(config, pool)
        ready.set_incumbent(published(skilled(), 1))
        judge(ready, collapsed(1))
        ready.offer(collapsed(2).to_bytes())
        assert ready.busy


def test_what_a_candidate_may_stake_shrinks_until_another_incumbent_or_failing_class(gate: Gate) -> None:
    gate.set_incumbent(published(clumsy(), 1))
    whole = gate._config.gate.alpha

    def stake_of(candidate: Bundle) -> float:
        return judge(gate, candidate).verdict.alpha

    assert stake_of(collapsed(1)) == whole * FIRST_SHARE
    assert stake_of(collapsed(2)) < whole * FIRST_SHARE
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    assert stake_of(collapsed(3)) == whole * FIRST_SHARE
    gate.set_incumbent(published(skilled(), 2))
    assert stake_of(collapsed(4)) == whole * FIRST_SHARE


def test_the_gate_does_not_rest_while_tasks_fail(pool: ProcessPool, tmp_path: Path) -> None:
    gate = Gate(
        FloopConfig(run_dir=str(tmp_path), gate=GateConfig(workers=1, cooldown_share=1e6, max_cooldown_s=1e6)), pool
    )
    gate.set_incumbent(published(skilled(), 1))
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    judge(gate, collapsed(1))
    gate.offer(collapsed(2).to_bytes())
    assert gate.busy


def test_a_candidate_that_never_succeeds_is_preempted_while_candidates_keep_coming(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 1))
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    gate.offer(collapsed(1).to_bytes())  # two offers within seconds: a learner is at work
    verdict = judge(gate, clumsy()).verdict
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reason.startswith(f"no success yet on cylinder: 0 of {HOPELESS_PAIRS} against")


def test_what_a_policy_achieved_in_its_trial_is_known_when_it_is_the_incumbent(gate: Gate) -> None:
    gate.set_incumbent(published(collapsed(), 1))
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    verdict = judge(gate, skilled()).verdict
    assert verdict.decision is Decision.ACCEPTED
    target_tasks, regression = verdict.suites
    gate.set_incumbent(published(skilled(), 2))
    assert gate._scenario_pool.known.target == (target_tasks.candidate_successes, target_tasks.episodes)
    assert gate._scenario_pool.known.regression == (regression.candidate_successes, regression.episodes)
    gate.set_incumbent(published(clumsy(), 3))
    assert gate._scenario_pool.known == SuiteCounts()


def test_what_a_policy_achieved_on_other_tasks_does_not_count_for_tasks_that_fail_now(gate: Gate) -> None:
    gate.set_incumbent(published(collapsed(), 1))
    for i in range(10):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    _, regression = judge(gate, skilled()).verdict.suites
    for i in range(10, 20):
        gate.failures.observe(episode_end("box", success=False, episode=i))
    wait_for(lambda: gate.step(0.0) is None and gate.target_tasks.classes == ("box", "cylinder"))
    gate.set_incumbent(published(skilled(), 2))
    assert gate._scenario_pool.known.target == (0, 0)
    assert gate._scenario_pool.known.regression == (regression.candidate_successes, regression.episodes)


def test_a_new_incumbent_restarts_the_trial(gate: Gate) -> None:
    gate.set_incumbent(published(clumsy(), 1))
    gate.offer(skilled().to_bytes())
    assert gate.step(0.0) is None
    assert gate.busy
    gate.set_incumbent(published(collapsed(), 2))
    verdict = judge(gate, skilled()).verdict
    assert gate.counts.restarted == 1
    assert verdict.incumbent_version == 2


def test_a_trial_counts_nothing_that_another_incumbent_did(gate: Gate) -> None:
    gate.set_incumbent(published(collapsed(), 1))
    gate.offer(skilled().to_bytes())
    wait_for(lambda: gate.step(0.1) is None and _pairs(gate) == 2)  # and others are under way
    gate.set_incumbent(published(skilled(), 2))
    verdict = judge(gate, _nearly(skilled())).verdict
    assert verdict.incumbent_version == 2
    assert [s.incumbent_successes for s in verdict.suites] == [s.candidate_successes for s in verdict.suites]


def test_an_incumbent_that_cannot_be_run_is_no_fault_of_the_candidate(pool: ProcessPool, tmp_path: Path) -> None:
    incumbent = published(skilled(), 1)
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), Unrunnable(pool, incumbent, 1000))
    gate.set_incumbent(incumbent)
    verdict = judge(gate, clumsy()).verdict
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reason == "the incumbent's episodes cannot be run: its worker died"
    assert not gate._history.budgets(gate.target_tasks.classes).improvement.trials


def test_pairs_whose_incumbent_cannot_be_run_are_replaced(pool: ProcessPool, tmp_path: Path) -> None:
    incumbent = published(collapsed(), 1)
    executor = Unrunnable(pool, incumbent, MAX_LOST_PAIRS)
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), executor)
    gate.set_incumbent(incumbent)
    judged = judge(gate, skilled())
    assert judged.verdict.decision is Decision.ACCEPTED
    assert executor.left == 0
    pairs = judged.report.pairs
    assert len({pair.seed for pair in pairs}) == len(pairs) == judged.verdict.suites[0].episodes


def test_pairs_prepared_in_vain_are_not_handed_out(pool: ProcessPool, tmp_path: Path) -> None:
    incumbent = published(collapsed(), 1)
    executor = Unrunnable(pool, incumbent, 10)  # more than a trial would replace
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), executor)
    gate.set_incumbent(incumbent)
    wait_for(lambda: gate.step(0.0) is None and executor.left == 0)
    assert judge(gate, skilled()).verdict.decision is Decision.ACCEPTED


class Unrunnable:
    """The pool, with one policy whose first episodes fail."""

    def __init__(self, pool: ProcessPool, policy: Bundle, episodes: int) -> None:
        self._pool, self._policy, self.width = pool, policy.manifest.sha256, pool.width
        self.left = episodes
        """Episodes that are still to fail."""

    def add_policy(self, policy: str, bundle: bytes) -> None:
        self._pool.add_policy(policy, bundle)

    def submit(self, jobs: Sequence[EpisodeJob]) -> list[Future[EpisodeOutcome]]:
        futures = self._pool.submit(jobs)
        for i, job in enumerate(jobs):
            if job.policy == self._policy and self.left:
                self.left -= 1
                futures[i].cancel()
                futures[i] = Future()
                futures[i].set_exception(EpisodeFailed("its worker died"))
        return futures

    def close(self) -> None:
        """The pool is the fixture's."""


def _pairs(gate: Gate) -> int:
    return len(gate._trial_runner.trial.pairs) if gate._trial_runner else 0


def test_bad_candidates_are_refused_in_one_line_and_change_nothing(gate: Gate) -> None:
    good = skilled().to_bytes()
    for blob in (b"", b"\x00" * 100, good[:-10], good[:200] + b"x" + good[201:]):
        with pytest.raises(BundleRefused) as caught:
            gate.offer(blob)
        assert "\n" not in str(caught.value)
    foreign = msgspec.structs.replace(skilled().manifest, task="floop/PickPlace-v0")
    with pytest.raises(ContractMismatch):
        gate.offer(msgspec.structs.replace(skilled(), manifest=foreign).to_bytes())
    assert gate.counts.refused == 5
    assert not gate.busy


def test_an_object_without_a_model_is_left_to_a_canary(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 1))
    for i in range(8):
        gate.failures.observe(episode_end("reserved_5", success=False, episode=i))
    assert target_tasks(gate.failures).without_model == ("reserved_5",)
    verdict = judge(gate, _nearly(skilled())).verdict
    assert verdict.decision is Decision.INCONCLUSIVE
    assert "canary only: no simulation shows how reserved_5 fails" in verdict.reason
    assert verdict.canary


def test_failures_that_no_fit_explains_are_left_to_a_canary_if_there_is_one(tmp_path: Path, pool: ProcessPool) -> None:
    unexplained = msgspec.structs.replace(calibration_fit("robot_1", (0.0, 0.0, 0.0)), explains=False)
    for canary, without_model in (("", ()), ("robot_1", ("box",))):
        config = FloopConfig(run_dir=str(tmp_path), gate=HEALTHY, deploy=DeployConfig(canary=canary))
        gate = Gate(config, pool)
        gate.set_incumbent(published(skilled(), 1))
        for i in range(8):
            gate.failures.observe(episode_end("box", success=False, episode=i), "robot_1", "boot")
        gate.fits.take(stream_info("fitter", source=Source.FITTER), [fit_event(unexplained, 0)])
        gate.step(0.0)
        assert gate.target_tasks.without_model == without_model
    verdict = judge(gate, _nearly(skilled())).verdict
    assert "canary only: no simulation shows how box fails" in verdict.reason and verdict.canary


def _nearly(bundle: Bundle) -> Bundle:
    """The same behavior in other bytes."""
    arrays = bundle.arrays()
    arrays["log_std.bias"] = arrays["log_std.bias"] - 0.5
    manifest = bundle.manifest
    return Bundle.build(
        task=get_task(TASK).spec,
        ids=manifest.ids,
        algo=manifest.algo,
        architecture=manifest.architecture,
        tensors=arrays,
        observations=np.array([c.observation for c in manifest.checks]),
    )


def test_a_candidate_may_be_judged_again_but_a_newer_one_goes_first(gate: Gate) -> None:
    gate.set_incumbent(published(skilled(), 2))
    gate.reconsider(collapsed())
    verdict = _wait(gate).verdict
    assert (verdict.candidate_sha256, verdict.incumbent_version) == (collapsed().manifest.sha256, 2)
    gate.offer(collapsed(1).to_bytes())
    gate.reconsider(collapsed())
    assert _wait(gate).verdict.candidate_sha256 == collapsed(1).manifest.sha256
    assert not gate.busy
    assert gate.counts.restarted == 1


def _wait(gate: Gate) -> GateResult:
    return wait_for(lambda: gate.step(0.2), 120.0, "a verdict")


def test_the_same_incumbent_named_again_restarts_no_trial(tmp_path: Path) -> None:
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), InProcessExecutor(PidRunner(str(tmp_path))))
    shipped = Bundle.load(baseline(TASK))
    gate.set_incumbent(published(shipped, 1))
    gate.offer(_nearly(shipped).to_bytes())
    assert gate.step(0.0) is None and _pairs(gate) == 1
    gate.set_incumbent(published(shipped, 1))
    assert gate.step(0.0) is None and _pairs(gate) == 2
    assert gate.counts.restarted == 0


def test_a_quarter_of_the_known_tasks_are_of_classes_that_were_learned_on_the_job(tmp_path: Path) -> None:
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), InProcessExecutor(PidRunner(str(tmp_path))))
    gate.set_incumbent(published(Bundle.load(baseline(TASK)), 1))

    def baskets() -> int:
        assert gate.step(0.0) is None
        taken = [gate._scenario_pool.take(Suite.REGRESSION).scenario for _ in range(100)]
        return sum(each.object.object_class == "basket" for each in taken)

    assert baskets() == 0
    for i in range(10):
        gate.failures.observe(episode_end("basket", success=True, episode=i))
    assert 10 <= baskets() <= 45


def test_a_newer_candidate_ends_a_trial_without_another_pair(tmp_path: Path) -> None:
    executor = InProcessExecutor(PidRunner(str(tmp_path)))
    for policy in ("incumbent", "candidate"):
        executor.add_policy(policy, b"good")
    scenario_pool = PairedScenarioPool(executor, itertools.count(1).__next__)
    scenario_pool.set_incumbent("incumbent")
    for suite in Suite:
        scenario_pool.set_source(suite, TrainingScenarios(TASK), ())
    trial = Trial(GateConfig(), TargetTasks(("basket",)), SuiteCounts(target=(100, 100)))
    runner = TrialRunner(trial, scenario_pool, executor, "candidate", 1)
    while trial.achieved.target[1] < PREEMPTION_PAIRS:
        assert runner.step(0.0) is None
    pairs = len(trial.pairs)
    trial.newer_is_due = True
    verdict = runner.step(0.0)
    assert verdict is not None
    assert verdict.decision is Decision.INCONCLUSIVE
    assert verdict.reason.endswith("preempted by a newer one")
    assert sum(suite.episodes for suite in verdict.suites) == pairs


def test_a_fresh_world_changes_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pybullet_worker, "RECYCLE_EPISODES", 2)
    runner = pybullet_worker.PyBulletRunner(TASK, "panda")
    runner.load("shipped", baseline(TASK).read_bytes())
    job = EpisodeJob("shipped", TrainingScenarios(TASK).sample(np.random.default_rng(0)))
    worlds, outcomes = [], []
    for _ in range(3):
        outcomes.append(runner.run(job))
        worlds.append(runner._env)
    runner.close()
    assert worlds[0] is not worlds[1] and worlds[1] is worlds[2]
    assert outcomes[0].success and outcomes == [outcomes[0]] * 3


def test_a_fit_makes_pairs_of_resolved_tasks_anew(pool: ProcessPool, tmp_path: Path) -> None:
    """Resolved tasks are drawn in the robots' worlds, as fitted; trained ones are not."""

    def prepared_after_a_fit(resolved: bool) -> tuple[int, int]:
        gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=HEALTHY), pool)
        gate.set_incumbent(skilled())
        for i in range(RESOLVED_WINDOW + 5 if resolved else 0):
            gate.failures.observe(episode_end("basket", i >= 5, i), "robot_1", "boot")
        wait_for(lambda: gate.step(0.0) is None and gate._scenario_pool.known.regression[1] >= 2)
        before = gate._scenario_pool.known.regression[1]
        gate.fits.take(
            stream_info("fitter", source=Source.FITTER), [fit_event(calibration_fit("robot_1", (0.03, 0.0, 0.0)), 0)]
        )
        gate.step(0.0)
        return before, gate._scenario_pool.known.regression[1]

    before, after = prepared_after_a_fit(resolved=True)
    assert before >= 2 > after
    before, after = prepared_after_a_fit(resolved=False)
    assert after >= before >= 2


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_while_nothing_fails_the_newest_candidate_waits_and_is_judged_at_the_first_failing_class(
    pool: ProcessPool, tmp_path: Path
) -> None:
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=GateConfig(workers=1)), pool)
    gate.set_incumbent(published(collapsed(), 1))
    for seed in range(1, 4):
        gate.offer(collapsed(seed).to_bytes())
        assert gate.step(0.0) is None and not gate.busy
    assert gate.offer(skilled().to_bytes()) == Offer(skilled().manifest.sha256, True, WAITS)
    assert gate.counts == GateCounts() and not list((tmp_path / "gate").glob("*.jsonl"))
    for i in range(4):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    assert gate.busy
    judged = wait_for(lambda: gate.step(0.2), 120.0, "the verdict")
    assert judged.verdict.candidate_sha256 == skilled().manifest.sha256
    assert judged.verdict.decision is Decision.ACCEPTED, judged.verdict.reason


def test_what_fails_for_long_is_tried_less_often(pool: ProcessPool, tmp_path: Path) -> None:
    clock = Clock()
    gate = Gate(FloopConfig(run_dir=str(tmp_path), gate=GateConfig(workers=1)), pool, clock)
    gate.set_incumbent(published(skilled(), 1))
    for i in range(4):
        gate.failures.observe(episode_end("cylinder", success=False, episode=i))
    judge(gate, collapsed(1))
    clock.now_s += 10.0
    gate.offer(collapsed(2).to_bytes())
    assert gate.busy  # soon after the beginning it rests for seconds
    clock.now_s += 3600.0
    judge(gate, collapsed(2))
    gate.offer(collapsed(3).to_bytes())
    clock.now_s += 30.0
    assert not gate.busy  # one hour: 36 s
    clock.now_s += 10.0
    assert gate.busy
    for i in range(4):
        gate.failures.observe(episode_end("basket", success=False, episode=10 + i))
    judge(gate, collapsed(3))
    clock.now_s += 1.0
    gate.offer(collapsed(4).to_bytes())
    assert gate.busy  # another class fails: at once again
