"""GateFleetClient: fetches incumbents from the fleet manager and submits verdicts, in a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time

import msgspec
import zmq

from floop_robot.bundle import Bundle
from floop_robot.bundle.delivery import TOPIC
from floop_robot.deploy import FleetClient, Refused, SubmissionResult, Unreachable
from floop_robot.deploy.messages import CandidateSubmission
from floop_robot.deploy.registry import CandidateState
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.spec.config import Endpoints
from floop_robot.spec.errors import FloopError
from floop_robot.spec.verdict import Verdict
from floop_robot.transport.zmq_sockets import connect_socket, receive

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 1.0
"""How often the version in production is fetched; an announcement fetches it at once."""
_VERDICT_WAIT_S = 0.02
_TIMEOUT_S = 1.0
_QUEUED = 64
"""Verdicts that wait: minutes of a busy gate. If the manager is away for longer, the oldest are dropped."""


class JudgedCandidate(msgspec.Struct, frozen=True):
    """A judged candidate that waits for the fleet manager."""

    bundle: Bundle
    verdict: Verdict


class GateFleetClient:
    """Follows the version in production, and repeats each verdict until it is acknowledged; a context manager."""

    def __init__(self, endpoints: Endpoints, who: str, secret: str = "") -> None:
        """`secret`: the site's, without which no verdict is taken."""
        self._endpoints, self._who, self._secret = endpoints, who, secret
        self._verdicts: queue.Queue[JudgedCandidate] = queue.Queue(_QUEUED)
        self._lock = threading.Lock()
        self._incumbent: Bundle | None = None
        self._stale: Bundle | None = None
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, "gate-fleet-client", self._stop)
        self.acknowledged = 0
        """Verdicts that the fleet manager stored or refused."""

    def __enter__(self) -> GateFleetClient:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def take_incumbent(self) -> Bundle | None:
        """The policy in production, if it changed since the last call."""
        with self._lock:
            bundle, self._incumbent = self._incumbent, None
        return bundle

    def take_stale(self) -> Bundle | None:
        """The latest candidate that was accepted against a policy no longer in production; once."""
        with self._lock:
            bundle, self._stale = self._stale, None
        return bundle

    def submit(self, bundle: Bundle, verdict: Verdict) -> None:
        """Submit a verdict; never blocks."""
        while True:
            try:
                self._verdicts.put_nowait(JudgedCandidate(bundle, verdict))
                return
            except queue.Full:
                dropped = self._verdicts.get_nowait()
                log.warning("gate: the fleet manager is away; verdict on %s dropped", dropped.verdict.candidate_sha256)

    def _run(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        announcements = connect_socket(context, zmq.SUB, self._endpoints.fleet, topic=TOPIC)
        try:
            with FleetClient(self._endpoints.fleet_rpc, _TIMEOUT_S) as client:
                self._serve(announcements, client)
        finally:
            context.destroy(0)

    def _serve(self, announcements: zmq.Socket[bytes], client: FleetClient) -> None:
        version, ask_at = 0, 0.0
        while not self._stop.is_set():
            if self._deliver(client) is CandidateState.STALE:
                ask_at = 0.0
            while receive(announcements):
                ask_at = 0.0
            if time.monotonic() >= ask_at:
                version = self._fetch_incumbent(client, version)
                ask_at = time.monotonic() + POLL_INTERVAL_S

    def _deliver(self, client: FleetClient) -> CandidateState | None:
        """Submit the next verdict, if one comes soon, until the manager has it; returns the candidate's state."""
        try:
            found = self._verdicts.get(timeout=_VERDICT_WAIT_S)
        except queue.Empty:
            return None
        submission = CandidateSubmission(
            who=self._who, verdict=found.verdict, bundle=found.bundle.to_bytes(), secret=self._secret
        )
        state = None
        while not self._stop.is_set():
            try:
                state = client.ask(submission, SubmissionResult).state
            except Unreachable:
                continue
            except Refused as error:
                log.warning("gate: verdict on %s was refused: %s", found.verdict.candidate_sha256, error)
            except BaseException:  # the thread begins again, with this verdict
                with contextlib.suppress(queue.Full):
                    self._verdicts.put_nowait(found)
                raise
            self.acknowledged += 1
            if state is CandidateState.STALE:
                with self._lock:
                    self._stale = found.bundle
            return state
        return None

    def _fetch_incumbent(self, client: FleetClient, version: int) -> int:
        """Fetch what is in production; returns its version."""
        try:
            bundle = client.fetch()
        except Unreachable:
            return version
        except FloopError as error:
            log.warning("gate: no incumbent: %s", error)
            return version
        if bundle.manifest.version != version:
            with self._lock:
                self._incumbent = bundle
        return bundle.manifest.version
