"""The gate process: a main around `gate.gate.Gate`.

learner ─▶ candidates ─▶ trials in PyBullet workers ─▶ verdicts ─▶ fleet manager
journal ─▶ tail ─▶ what fails on the robots ─▶ target tasks      incumbent ◀─┘
"""

from __future__ import annotations

import argparse
import hmac
import logging
import sys
import threading
from pathlib import Path

import msgspec

from floop_robot.bundle.delivery import MAX_SENT_BUNDLE_BYTES
from floop_robot.deploy.peer_secrets import site_secret
from floop_robot.durable.framing import pack
from floop_robot.gate.gate import Gate, GateCounts, GateResult
from floop_robot.gate.process_pool import ProcessPool
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.services.entry import run as enter
from floop_robot.services.gate_fleet_client import GateFleetClient
from floop_robot.services.main_loop import read_arguments, stop_on_signals
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.verdict import Verdict
from floop_robot.stream.journal_follower import ROBOT_REPORTS, JournalFollower, SummaryStart
from floop_robot.transport.listener import Listener
from floop_robot.transport.peer_guard import PeerLimits

log = logging.getLogger(__name__)

_IDLE_MS = 20
_STEP_S = 0.02
"""Longest wait for an episode before sockets are served again."""


_QUEUE = 8
"""Answers that wait per peer."""
_CANDIDATES_PER_TURN = 4
"""A busy peer must not delay trials."""
NO_SECRET = "the candidate came without this site's secret; a learner on another host needs a copy of secrets/site"
_LIMITS = PeerLimits(unread_bytes=MAX_SENT_BUNDLE_BYTES + (2 << 20), refusals=50)


class CandidateReply(msgspec.Struct, frozen=True):
    """Answer to the learner about a candidate, as msgpack: taken or not, later the verdict."""

    sha256: str
    taken: bool
    reason: str = ""
    verdict: Verdict | None = None


class GateStats(msgspec.Struct, frozen=True, kw_only=True):
    """State of the gate, for screen and report."""

    counts: GateCounts
    incumbent: int
    target_tasks: TargetTasks
    busy: bool
    last_decision: str
    last_reason: str
    verdict_s: tuple[float, ...]
    """Durations of the latest trials."""
    acknowledged: int
    """Verdicts that the fleet manager has stored."""
    episodes: int
    """Episodes that the workers finished."""
    workers_replaced: int
    strangers: int = 0
    """Candidates without the site's secret."""


class GateProcess:
    """One gate and its sockets; `run` serves until its stop event is set."""

    def __init__(self, config: FloopConfig, gate: Gate, pool: ProcessPool, fleet: GateFleetClient) -> None:
        """Raises `BindError` when the gate's endpoint is taken."""
        self._gate, self._pool, self._fleet = gate, pool, fleet
        self._listener = Listener(
            config.endpoints.gate, "the gate", _LIMITS, queue=_QUEUE, max_message_bytes=MAX_SENT_BUNDLE_BYTES
        )
        self._journal = JournalFollower(config.endpoints.tail, ROBOT_REPORTS, start=SummaryStart(gate.begin_with))
        self._stats = StatsFile[GateStats](Path(config.run_dir), "gate")
        self._secret = site_secret(Path(config.run_dir)).encode()
        self._senders: dict[str, bytes] = {}
        self._strangers = 0
        self._last: Verdict | None = None
        self._durations: list[float] = []

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`."""
        while not stop.is_set():
            self._take_candidates(0 if self._gate.busy else _IDLE_MS)
            for found in self._journal.poll():
                self._gate.take(found.block)
            self._take_incumbent()
            if judged := self._gate.step(_STEP_S):
                self._publish(judged)
            self._stats.write(self._current_stats())
        self._stats.write(self._current_stats(), force=True)

    def close(self) -> None:
        """Close port and connections."""
        self._journal.close()
        self._listener.close()

    def _take_candidates(self, wait_ms: int) -> None:
        if not self._listener.socket.poll(wait_ms):
            return
        for _ in range(_CANDIDATES_PER_TURN):
            frames = self._listener.receive()
            if not frames:
                return
            self._reply(frames[0], self._offer(frames[0], frames[1:]))

    def _offer(self, peer: bytes, frames: list[bytes]) -> CandidateReply:
        if len(frames) != 2 or not hmac.compare_digest(frames[0], self._secret):
            self._listener.refuse(peer)
            self._strangers += 1
            return CandidateReply("", False, NO_SECRET)
        blob = frames[1]
        try:
            offer = self._gate.offer(blob)
        except FloopError as error:
            log.warning("gate: a candidate was refused: %s", error)
            self._listener.refuse(peer)
            return CandidateReply("", False, str(error))
        if not offer.taken:
            log.info("gate: %s is not judged: %s", offer.sha256[:8], offer.reason)
            return CandidateReply(offer.sha256, False, offer.reason)
        # Only the candidates that can still be judged: the pending one and the one on trial.
        self._senders = {**dict(list(self._senders.items())[-1:]), offer.sha256: peer}
        return CandidateReply(offer.sha256, True, offer.reason)

    def _take_incumbent(self) -> None:
        stale = self._fleet.take_stale()
        if stale is not None:
            self._gate.reconsider(stale)
        bundle = self._fleet.take_incumbent()
        if bundle is None:
            return
        try:
            self._gate.set_incumbent(bundle)
        except FloopError as error:
            log.error("gate: no trials against the policy in production: %s", error)

    def _publish(self, judged: GateResult) -> None:
        verdict = judged.verdict
        self._fleet.submit(judged.bundle, verdict)
        self._last = verdict
        self._durations = [*self._durations[-99:], verdict.duration_s]
        peer = self._senders.pop(verdict.candidate_sha256, None)
        if peer is not None:
            self._reply(peer, CandidateReply(verdict.candidate_sha256, True, verdict.reason, verdict))
        log.info(
            "gate: %s %s in %.2f s: %s",
            verdict.candidate_sha256[:8],
            verdict.decision,
            verdict.duration_s,
            verdict.reason,
        )

    def _reply(self, peer: bytes, answer: CandidateReply) -> None:
        self._listener.send([peer, pack(answer)])  # dropped when the learner went away, or doesn't read

    def _current_stats(self) -> GateStats:
        return GateStats(
            counts=self._gate.counts,
            incumbent=self._gate.incumbent_version,
            target_tasks=self._gate.target_tasks,
            busy=self._gate.busy,
            last_decision=str(self._last.decision) if self._last else "",
            last_reason=self._last.reason if self._last else "",
            verdict_s=tuple(self._durations),
            acknowledged=self._fleet.acknowledged,
            episodes=self._pool.finished,
            workers_replaced=self._pool.replaced,
            strangers=self._strangers,
        )


def run(config: FloopConfig, stop: threading.Event) -> None:
    """Serve until `stop`; raises `FloopError` when port or run directory can't be used."""
    pool = ProcessPool(
        workers=config.gate.worker_count, task=config.task, robot=config.robot.model, nice=config.gate.nice
    )
    try:
        gate = Gate(config, pool)
        with GateFleetClient(config.endpoints, "gate", site_secret(Path(config.run_dir))) as fleet:
            process = GateProcess(config, gate, pool, fleet)
            log.info("gate: %d workers, candidates on %s", pool.width, config.endpoints.gate)
            try:
                process.run(stop)
            finally:
                process.close()
    finally:
        pool.close()


def main(argv: list[str] | None = None) -> int:
    """Run the gate until SIGINT or SIGTERM; raises `FloopError` for what a user can correct."""
    stop = stop_on_signals()
    parser = argparse.ArgumentParser(prog="gate", description="Judge candidates in PyBullet against the incumbent.")
    _, config = read_arguments(parser, argv)
    run(config, stop)
    return 0


if __name__ == "__main__":
    sys.exit(enter(["gate", *sys.argv[1:]]))
