"""The pool with real processes: order, death, hostile bundles, the end of its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import psutil
import pytest

from floop_robot.core import EpisodeJob
from floop_robot.durable.framing import pack
from floop_robot.gate import worker, worker_process
from floop_robot.gate.executor import InProcessExecutor
from floop_robot.gate.interfaces import MAX_LOADED_POLICIES, EpisodeFailed
from floop_robot.gate.process_pool import ProcessPool
from tests.support.fake_runners import PidRunner, scenario
from tests.support.waiting import wait_for

RUNNER = "tests.support.fake_runners:pid_runner"
WAIT_S = 60.0


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ProcessPool]:
    pool = ProcessPool(workers=2, task=str(tmp_path), robot="panda", runner=RUNNER)
    pool.add_policy("p", b"good")
    assert pool.wait_warm()
    yield pool
    pool.close()


def jobs(count: int, kind: str = "box", policy: str = "p") -> list[EpisodeJob]:
    return [EpisodeJob(policy, scenario(i, kind)) for i in range(count)]


def test_results_belong_to_their_jobs_and_both_workers_work(pool: ProcessPool) -> None:
    outcomes = [f.result(WAIT_S) for f in pool.submit(jobs(200))]
    assert [o.duration_s for o in outcomes] == list(range(200))
    assert {o.steps for o in outcomes} == set(pool.worker_pids)


def test_a_job_whose_worker_is_killed_runs_again_elsewhere(pool: ProcessPool) -> None:
    outcomes = [f.result(WAIT_S) for f in pool.submit(jobs(6, "crash"))]
    assert [o.duration_s for o in outcomes] == list(range(6))
    assert pool.replaced == 6


def test_a_worker_killed_from_outside_loses_no_job(pool: ProcessPool) -> None:
    futures = pool.submit(jobs(6, "slow"))
    for pid in pool.worker_pids:
        os.kill(pid, signal.SIGKILL)
    assert [f.result(WAIT_S).duration_s for f in futures] == list(range(6))
    assert pool.replaced == 2


def test_a_worker_that_dies_between_jobs_is_replaced(pool: ProcessPool) -> None:
    dead = pool.worker_pids[0]
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: pool.replaced == 1 and dead not in pool.worker_pids, what="another worker")
    assert [f.result(WAIT_S).duration_s for f in pool.submit(jobs(4))] == list(range(4))


def test_a_worker_that_hangs_is_replaced_and_its_job_runs_again(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = pool.worker_pids
    for pid in hung:
        os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(worker_process, "JOB_LIMIT_S", 0.05)
    futures = pool.submit(jobs(2))
    wait_for(lambda: pool.replaced == 2, what="the end of both that hang")
    monkeypatch.undo()  # before a successor has loaded its simulator
    outcomes = [f.result(WAIT_S) for f in futures]
    assert [o.duration_s for o in outcomes] == [0, 1]
    assert not {o.steps for o in outcomes} & set(hung)
    assert not any(psutil.pid_exists(p) for p in hung)


def test_a_job_that_kills_every_worker_is_given_up_and_the_pool_lives(pool: ProcessPool) -> None:
    with pytest.raises(EpisodeFailed, match="3 workers died in the episode"):
        pool.submit(jobs(1, "dies"))[0].result(WAIT_S)
    assert pool.submit(jobs(1))[0].result(WAIT_S).success


def test_a_refused_bundle_fails_its_own_jobs_only(pool: ProcessPool) -> None:
    pool.add_policy("broken", b"bad")
    with pytest.raises(EpisodeFailed, match="BundleRefused: the bundle is damaged"):
        pool.submit(jobs(1, policy="broken"))[0].result(WAIT_S)
    with pytest.raises(EpisodeFailed, match="ValueError: no such shape"):
        pool.submit(jobs(1, "raises"))[0].result(WAIT_S)
    assert pool.submit(jobs(1))[0].result(WAIT_S).success
    assert pool.replaced == 0


def test_policies_come_and_go(pool: ProcessPool) -> None:
    for i in range(3 * MAX_LOADED_POLICIES):
        pool.add_policy(f"p{i}", b"good" if i % 2 else b"poor")
        assert all(f.result(WAIT_S).success == bool(i % 2) for f in pool.submit(jobs(2, policy=f"p{i}")))
    with pytest.raises(EpisodeFailed, match="does not know"):
        pool.submit(jobs(1, policy="p0"))


def test_a_job_whose_policy_is_forgotten_while_it_waits_fails_alone(pool: ProcessPool) -> None:
    pids = pool.worker_pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    begun = pool.submit(jobs(2))
    wait_for(lambda: all(f.running() for f in begun), what="a job for each worker")
    late = pool.submit(jobs(1))[0]
    for i in range(MAX_LOADED_POLICIES):
        pool.add_policy(f"p{i}", b"good")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    with pytest.raises(EpisodeFailed, match="policy p is no longer known"):
        late.result(WAIT_S)
    assert all(f.result(WAIT_S).success for f in begun)
    assert pool.submit(jobs(1, policy="p0"))[0].result(WAIT_S).success


def test_waiting_jobs_can_be_cancelled(pool: ProcessPool) -> None:
    futures = pool.submit(jobs(20, "slow"))
    cancelled = [f for f in reversed(futures) if f.cancel()]
    assert len(cancelled) >= 16
    done = [f.result(WAIT_S) for f in futures if not f.cancelled()]
    assert len(done) == 20 - len(cancelled)


def test_closing_leaves_no_process(tmp_path: Path) -> None:
    pool = ProcessPool(workers=2, task=str(tmp_path), robot="panda", runner=RUNNER)
    pool.add_policy("p", b"good")
    pids = pool.worker_pids
    futures = pool.submit(jobs(10, "slow"))
    pool.close()
    assert not any(psutil.pid_exists(p) for p in pids)
    assert all(f.cancelled() or f.exception() is not None for f in futures)
    with pytest.raises(EpisodeFailed):
        pool.submit(jobs(1))
    pool.close()  # again: nothing is left to close


@pytest.fixture
def interrupt() -> Iterator[None]:
    """Ctrl-C as it was: a worker ignores it."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupt")
def test_a_policy_that_was_refused_is_taken_once_it_was_forgotten_and_sent_again(tmp_path: Path) -> None:
    job = jobs(1)[0]
    orders = [
        worker.Setup(RUNNER, str(tmp_path), "panda", os.nice(0)),
        worker.Load("p", b"bad"),
        worker.Run(job),
        worker.Forget("p"),
        worker.Load("p", b"good"),
        worker.Run(job),
    ]
    ours, theirs = socket.socketpair()
    with ours:
        connection = Connection(os.dup(ours.fileno()))
        for order in orders:
            connection.send_bytes(pack(order))
        ours.shutdown(socket.SHUT_WR)
        descriptor = theirs.detach()
        assert worker.main([str(descriptor)]) == 0
        decoder = msgspec.msgpack.Decoder(worker.FromWorker)
        ready, refused, done = (decoder.decode(connection.recv_bytes()) for _ in range(3))
        connection.close()
    assert ready == worker.Ready()
    assert refused == worker.JobRefused("BundleRefused: the bundle is damaged")
    assert isinstance(done, worker.JobDone) and done.outcome.success
    assert (tmp_path / f"closed_{os.getpid()}").exists()


OWNER = """
import sys
from floop_robot.gate.process_pool import ProcessPool
pool = ProcessPool(workers=2, task=sys.argv[1], robot="panda", runner="tests.support.fake_runners:pid_runner")
pool.wait_warm()
print(*pool.worker_pids, flush=True)
sys.stdin.read()
"""


def test_workers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as owner:
        assert owner.stdout is not None
        pids = [int(p) for p in owner.stdout.readline().split()]
        assert len(pids) == 2
        owner.kill()
    wait_for(lambda: all((tmp_path / f"closed_{p}").exists() for p in pids), what="the end of the workers")


def test_in_process_runs_at_once(tmp_path: Path) -> None:
    executor = InProcessExecutor(PidRunner(str(tmp_path)))
    for i in range(2 * MAX_LOADED_POLICIES):
        executor.add_policy(f"p{i}", b"good")
    futures = executor.submit(jobs(3, policy=f"p{2 * MAX_LOADED_POLICIES - 1}"))
    assert [f.result(0).steps for f in futures] == [os.getpid()] * 3
    failed = executor.submit(jobs(1, "raises", f"p{2 * MAX_LOADED_POLICIES - 1}"))[0]
    assert isinstance(failed.exception(0), EpisodeFailed)
