"""FleetClient: what the gate, the command line and the screen ask of the fleet manager."""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from types import TracebackType
from typing import TypeVar

import zmq

from floop_robot.bundle import Bundle
from floop_robot.rollout.messages import (
    REPLIES,
    Delivery,
    Done,
    Fetch,
    FleetStatus,
    GetPolicies,
    GetStatus,
    Hold,
    MessageRefused,
    Pin,
    Policies,
    Push,
    Refusal,
    Reply,
    Request,
    Resume,
    Rollback,
    Submission,
    Submitted,
    seal,
    unseal,
)
from floop_robot.rollout.wire import Context, connect
from floop_robot.spec.errors import FloopError
from floop_robot.spec.verdict import Verdict

RETRY_S = 1.0
"""Silence after which a request is sent again; every request may be."""
T = TypeVar("T", bound=Reply)


class FleetUnreachable(FloopError):
    """No fleet manager answers."""


class FleetRefused(FloopError):
    """The fleet manager can't do what was asked; its reason, in one line."""


def this_person() -> str:
    """Who gives orders here, as the audit shows it: `user@host`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


class FleetClient:
    """Asks and waits for answers, across restarts of the fleet manager; for one thread, a context manager."""

    def __init__(self, endpoint: str, who: str = "", timeout_s: float = 5.0) -> None:
        """`endpoint`: `Endpoints.fleet_rpc`. `who` signs orders; left out, it is `this_person()`."""
        self.endpoint = endpoint
        self.who = who or this_person()
        self._timeout_s = timeout_s
        self._context: Context = zmq.Context()
        self._socket = connect(self._context, zmq.DEALER, endpoint)

    def __enter__(self) -> FleetClient:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._context.destroy(0)

    def status(self) -> FleetStatus:
        """How the fleet is."""
        return self._ask(GetStatus(), FleetStatus)

    def policies(self) -> Policies:
        """All versions, oldest first."""
        return self._ask(GetPolicies(), Policies)

    def fetch(self, version: int = 0) -> Bundle:
        """The bundle of a version; 0 means the one in production (the gate's incumbent)."""
        return Bundle.from_bytes(self._ask(Fetch(version=version), Delivery).bundle, f"v{version} from {self.endpoint}")

    def submit(self, bundle: Bundle, verdict: Verdict) -> Submitted:
        """Hand in a judged candidate, accepted or not; may be repeated after any failure."""
        return self._ask(Submission(who=self.who, verdict=verdict, bundle=bundle.to_bytes()), Submitted)

    def push(self, bundle: Bundle, why: str = "") -> Done:
        """Publish a bundle, whatever the gate thinks of it."""
        return self._ask(Push(call_id=_new_id(), who=self.who, bundle=bundle.to_bytes(), why=why), Done)

    def rollback(self, version: int = 0) -> Done:
        """Publish an older version's bytes again; 0 means the one before production."""
        return self._ask(Rollback(call_id=_new_id(), who=self.who, version=version), Done)

    def pin(self, scope: str, version: int) -> Done:
        """Put a robot, or `FLEET`, on a version's bytes and keep it there."""
        return self._ask(Pin(call_id=_new_id(), who=self.who, scope=scope, version=version), Done)

    def hold(self, scope: str) -> Done:
        """Keep a robot, or `FLEET`, on what it has."""
        return self._ask(Hold(call_id=_new_id(), who=self.who, scope=scope), Done)

    def resume(self, scope: str) -> Done:
        """End hold and pin of a robot, or `FLEET`."""
        return self._ask(Resume(call_id=_new_id(), who=self.who, scope=scope), Done)

    def _ask(self, request: Request, kind: type[T]) -> T:
        """Send until answered; raises `FleetUnreachable` after the timeout, and `FleetRefused`."""
        request_id, payload = uuid.uuid4().bytes, seal(request)
        deadline = time.monotonic() + self._timeout_s
        send_at = 0.0
        while (now := time.monotonic()) < deadline:
            if now >= send_at:
                try:
                    self._socket.send_multipart([request_id, payload], zmq.NOBLOCK)
                    send_at = now + RETRY_S
                except zmq.Again:  # not connected yet
                    send_at = now + 0.02
            if self._socket.poll(int(max(1.0, 1000 * (min(deadline, send_at) - now)))):
                reply = self._receive(request_id)
                if isinstance(reply, Refusal):
                    raise FleetRefused(reply.reason)
                if isinstance(reply, kind):
                    return reply
        raise FleetUnreachable(
            f"no fleet manager answers at {self.endpoint} within {self._timeout_s:g} s; "
            "start the fleet, or check endpoints in the config"
        )

    def _receive(self, request_id: bytes) -> Reply | None:
        frames = self._socket.recv_multipart()
        if len(frames) != 2 or frames[0] != request_id:
            return None  # answers a request that was given up
        try:
            return unseal(frames[1], REPLIES)
        except MessageRefused:
            return None


def _new_id() -> str:
    return uuid.uuid4().hex
