"""PolicyUpdater: the robot's side of the roll-out, in a thread of its own beside the control loop.

It connects out twice (announcements, requests), checks whatever arrives, loads it aside and hands a ready actor to the
policy buffer; the control loop swaps it in between two steps. A version that is refused changes nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec
import zmq

from floop_robot.bundle import Actor, Bundle, Manifest, VerifiedBundle, verify
from floop_robot.deploy.messages import (
    ANNOUNCEMENTS,
    REPLIES,
    TOPIC,
    Announcement,
    FetchPolicy,
    Heartbeat,
    PolicyDelivery,
    ReceiptAck,
    ReceiptReport,
    Request,
    Target,
)
from floop_robot.deploy.registry import InstallStage, Receipt
from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.robot.local_store import StoredDrain, StoredPolicy
from floop_robot.spec.errors import BundleRefused, FloopError
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.transport.zmq_sockets import Context, Socket, connect_socket, receive

_WAIT_FOR_STEP_S = 0.01
"""How often the buffer are asked whether the new policy acts; a receipt is late by at most that."""
_FETCH_AGAIN_S = 0.5
_LONGEST_FETCH_PAUSE_S = 10.0
SILENT_HEARTBEATS = 4
"""A fleet manager that let this many heartbeats pass unanswered is away."""
MAX_STORED_MANIFESTS = 3
"""What acts, what acted before, and what comes next."""
MAX_RECEIPTS = 200
"""Receipts that wait for a manager that is away; the oldest are dropped first, they are reports only."""


class InstallTarget(Protocol):
    """Where the control loop finds its policy (implemented by the robot)."""

    def offer(self, version: int, actor: Actor) -> None:
        """Take a checked policy, to be swapped in between two control steps; never blocks the control loop."""
        ...

    def first_step_s(self, version: int) -> float | None:
        """`time.monotonic()` of the first control step taken on `version`; None before it."""
        ...

    @property
    def last_fallback(self) -> tuple[int, int] | None:
        """The version that misbehaved last while acting, and the one that acts instead (0: none); None if none did."""
        ...


class RobotActivity(Protocol):
    """What the robot does with its policy (implemented where the control loop is wired)."""

    @property
    def idle(self) -> bool:
        """No episode runs."""
        ...

    @property
    def drained(self) -> bool:
        """It starts no episode, whoever asked for that."""
        ...

    @property
    def estop(self) -> bool:
        """Its stop latch is set."""
        ...

    def set_drain(self, drain: bool) -> None:
        """The fleet manager's word: finish the episode and start no other, or work. Must not block."""
        ...


class UpdaterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which robot this is and where it connects to."""

    robot: str
    boot_id: str
    announcements: str
    """`Endpoints.fleet`."""
    rpc: str
    """`Endpoints.fleet_rpc`."""
    folder: Path
    """Where the last good policy is stored."""
    heartbeat_s: float


class UpdaterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What an updater knows at the moment."""

    newest: Receipt | None
    """How far the newest version came; None before any came."""
    manifests: tuple[Manifest, ...]
    """Of the versions handed over last, oldest first."""
    is_linked: bool
    """The fleet manager answers."""

    def manifest(self, version: int) -> Manifest | None:
        """What is known of a version that was handed over lately."""
        return next((m for m in self.manifests if m.version == version), None)


class PolicyUpdater:
    """Start it, stop it; a context manager. `notice` gets one line per thing worth a person's or a log's attention."""

    def __init__(
        self,
        config: UpdaterConfig,
        task: TaskSpec,
        ids: Ids,
        policy_buffer: InstallTarget,
        notice: Callable[[str], None] = lambda _: None,
        work: RobotActivity | None = None,
    ) -> None:
        """`work` None: a robot that can't be drained, and tells nothing of its work."""
        self._config, self._task, self._ids, self._policy_buffer, self._notice = (
            config,
            task,
            ids,
            policy_buffer,
            notice,
        )
        self._work = work
        self._stored_policy, self._stored_drain = StoredPolicy(config.folder), StoredDrain(config.folder)
        self._drain = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"policy-updater-{config.robot}", daemon=True)
        self._version = self._acting = 0
        self._epoch = 0
        self._receipts: dict[tuple[int, InstallStage, bool], Receipt] = {}
        """By version, stage and whether it failed: what is sent until it is noted."""
        self._last_fallback: tuple[int, int] | None = None
        self._handed: deque[Bundle] = deque(maxlen=2)
        """What the buffer were given last: the current policy and the one they may fall back to."""
        self._awaited: tuple[int, float] | None = None
        """Version whose first control step is waited for, and when its bundle arrived (monotonic)."""
        self._fetch_due_s = 0.0
        self._refusals = 0
        self._newest: Receipt | None = None
        self._manifests: tuple[Manifest, ...] = ()
        self._heard_s = -math.inf

    def view(self) -> UpdaterStatus:
        """Where it stands; from any thread."""
        silent_s = time.monotonic() - self._heard_s
        return UpdaterStatus(
            newest=self._newest,
            manifests=self._manifests,
            is_linked=silent_s <= SILENT_HEARTBEATS * self._config.heartbeat_s,
        )

    @property
    def version(self) -> int:
        """The last version handed to the buffer; 0 before the first."""
        return self._version

    def start(self) -> None:
        """Hand the stored policy to the buffer, if there is one, and connect."""
        self._restore()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the connections."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> PolicyUpdater:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _restore(self) -> None:
        arrived_s = time.monotonic()
        self._drain = self._stored_drain.load()
        if self._work is not None and self._drain:
            self._work.set_drain(True)
        try:
            kept = self._stored_policy.load(self._task, self._ids, self._config.robot)
        except FloopError as error:
            self._notice(f"the stored policy is not used: {error}")
            return
        if kept:
            self._hand_over(kept, arrived_s)

    def _run(self) -> None:
        context: Context = zmq.Context()
        try:
            announcements = connect_socket(context, zmq.SUB, self._config.announcements, topic=TOPIC)
            rpc = connect_socket(context, zmq.DEALER, self._config.rpc)
            self._serve(announcements, rpc)
        finally:
            context.destroy(0)

    def _serve(self, announcements: Socket, rpc: Socket) -> None:
        poller = zmq.Poller()
        poller.register(announcements, zmq.POLLIN)
        poller.register(rpc, zmq.POLLIN)
        beat_due_s = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= beat_due_s:
                # Not connected yet: nothing is queued, and the next try comes soon.
                beat_due_s = now + (self._config.heartbeat_s if self._beat(rpc) else 0.05)
            wait_s = _WAIT_FOR_STEP_S if self._awaited else min(0.1, max(0.001, beat_due_s - now))
            ready = dict(poller.poll(int(1000 * wait_s)))
            if announcements in ready and (frames := receive(announcements)):
                self._on_announcement(frames, rpc)
            if rpc in ready and (frames := receive(rpc)):
                self._on_reply(frames, rpc)
            self._look_for_first_step(rpc)
            self._look_for_fallback(rpc)

    def _beat(self, rpc: Socket) -> bool:
        work = self._work
        beat = Heartbeat(
            robot=self._config.robot,
            boot_id=self._config.boot_id,
            contract=self._ids.contract,
            version=self._held,
            acting=self._acting,
            idle=work is not None and work.idle,
            drained=work is not None and work.drained,
            estop=work is not None and work.estop,
        )
        sent = self._send(rpc, beat)
        for receipt in list(self._receipts.values()) if sent else ():
            self._send(rpc, ReceiptReport(receipt=receipt))
        return sent

    @staticmethod
    def _send(rpc: Socket, request: Request) -> bool:
        try:
            rpc.send_multipart([b"", frame_message(request)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _on_announcement(self, frames: list[bytes], rpc: Socket) -> None:
        arrived_s = time.monotonic()
        try:
            message: Announcement = deframe_message(frames[-1], ANNOUNCEMENTS)
        except MessageRefused as error:
            self._notice(f"an announcement was dropped: {error}")  # the next heartbeat tells what was missed
            return
        robot = self._config.robot
        if robot in message.but or (message.only and robot not in message.only):
            return
        self._consider(message, arrived_s, rpc)

    def _on_reply(self, frames: list[bytes], rpc: Socket) -> None:
        arrived_s = time.monotonic()
        try:
            reply = deframe_message(frames[-1], REPLIES)
        except MessageRefused as error:
            self._notice(f"an answer of the fleet manager was dropped: {error}")
            return
        self._heard_s = arrived_s
        if isinstance(reply, Target):
            self._apply_target(reply)
            if reply.version > self._version and arrived_s >= self._fetch_due_s:
                self._fetch_due_s = arrived_s + _FETCH_AGAIN_S
                self._send(rpc, FetchPolicy(version=reply.version))
        elif isinstance(reply, PolicyDelivery):
            self._consider(reply, arrived_s, rpc)
        elif isinstance(reply, ReceiptAck):
            self._receipts.pop((reply.version, reply.stage, reply.failed), None)

    def _apply_target(self, target: Target) -> None:
        if target.drain == self._drain or target.epoch < self._epoch:
            return
        self._drain = target.drain
        if self._work is not None:
            self._work.set_drain(target.drain)
        try:
            self._stored_drain.store(target.drain)
        except FloopError as error:
            self._notice(f"a restart would forget the fleet manager's last word on work: {error}")

    def _consider(self, message: Announcement | PolicyDelivery, arrived_s: float, rpc: Socket) -> None:
        """Check a bundle and hand it over, or refuse it and keep what is."""
        if message.version <= self._version:
            return  # heard before: broadcast and snapshot overlap
        self._receipt(message.version, InstallStage.RECEIVED, 0.0, rpc)
        try:
            verified = self._verify(message)
        except FloopError as error:
            self._refuse(message.version, error, arrived_s, rpc)
            return
        self._receipt(
            message.version, InstallStage.VERIFIED, time.monotonic() - arrived_s, rpc, "; ".join(verified.notes)
        )
        self._hand_over(verified, arrived_s)
        self._receipt(message.version, InstallStage.INSTALLED, time.monotonic() - arrived_s, rpc)
        self._refusals = 0
        self._keep(message.bundle, message.version)

    def _verify(self, message: Announcement | PolicyDelivery) -> VerifiedBundle:
        robot = self._config.robot
        bundle = Bundle.from_bytes(message.bundle, f"v{message.version} as it reached {robot}")
        manifest = bundle.manifest
        if manifest.version != message.version:
            raise BundleRefused(f"announced v{message.version} holds {manifest.title}; publish it again")
        if manifest.epoch < self._epoch:
            raise BundleRefused(
                f"policy {manifest.title} comes from epoch {manifest.epoch}, {robot} has heard epoch {self._epoch}; "
                "stop the older fleet manager"
            )
        return verify(bundle, self._task, self._ids, where=robot, newer_than=self._version)

    def _hand_over(self, verified: VerifiedBundle, arrived_s: float) -> None:
        manifest = verified.bundle.manifest
        self._manifests = (*self._manifests, manifest)[-MAX_STORED_MANIFESTS:]
        self._policy_buffer.offer(manifest.version, verified.actor)
        self._handed.append(verified.bundle)
        self._version, self._epoch = manifest.version, manifest.epoch
        self._awaited = manifest.version, arrived_s
        for note in verified.notes:
            self._notice(note)

    def _keep(self, blob: bytes, version: int) -> None:
        try:
            self._stored_policy.store(blob)
        except FloopError as error:
            self._notice(f"v{version} acts, but would not survive a restart: {error}")

    def _refuse(self, version: int, error: FloopError, arrived_s: float, rpc: Socket) -> None:
        keeps = f"keeps v{self._version}" if self._version else "has no policy yet"
        line = f"v{version} was refused by {self._config.robot}: {error}. {self._config.robot} {keeps}."
        self._notice(line)
        self._refusals += 1
        # It may have been damaged on the way only: fetched again, ever more rarely.
        self._fetch_due_s = time.monotonic() + min(_LONGEST_FETCH_PAUSE_S, _FETCH_AGAIN_S * 2.0**self._refusals)
        self._receipt(version, InstallStage.REFUSED, time.monotonic() - arrived_s, rpc, line)

    def _look_for_first_step(self, rpc: Socket) -> None:
        if self._awaited is None:
            return
        version, arrived_s = self._awaited
        first_s = self._policy_buffer.first_step_s(version)
        if first_s is not None:
            self._awaited, self._acting = None, version
            self._receipt(version, InstallStage.ACTING, first_s - arrived_s, rpc)

    @property
    def _held(self) -> int:
        """The version that the robot acts on, or will from its next step on."""
        return (
            self._last_fallback[1]
            if self._last_fallback is not None and self._last_fallback[0] == self._version
            else self._version
        )

    def _look_for_fallback(self, rpc: Socket) -> None:
        fallback = self._policy_buffer.last_fallback
        if fallback is None or fallback == self._last_fallback:
            return
        self._last_fallback = fallback
        bad, self._acting = fallback
        if self._awaited is not None and self._awaited[0] == bad:
            self._awaited = None
        keeps = f"went back to v{self._acting}" if self._acting else "stands still: there is none to go back to"
        line = f"v{bad} answered with NaN or infinity on {self._config.robot}, which {keeps}. Push another policy."
        self._notice(line)
        self._receipt(bad, InstallStage.REFUSED, 0.0, rpc, line, fallback_version=self._acting)
        for bundle in self._handed:
            if bundle.manifest.version == self._acting:
                self._keep(bundle.to_bytes(), self._acting)

    def _receipt(
        self,
        version: int,
        stage: InstallStage,
        since_s: float,
        rpc: Socket,
        detail: str = "",
        fallback_version: int | None = None,
    ) -> None:
        receipt = Receipt(
            robot=self._config.robot,
            version=version,
            stage=stage,
            since_received_s=since_s,
            detail=detail,
            fallback_version=fallback_version,
        )
        self._receipts[version, stage, receipt.failed] = self._newest = receipt
        while len(self._receipts) > MAX_RECEIPTS:
            del self._receipts[next(iter(self._receipts))]
        self._send(rpc, ReceiptReport(receipt=receipt))
