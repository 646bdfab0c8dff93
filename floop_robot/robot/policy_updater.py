"""PolicyUpdater: connects a robot to the fleet manager, in a thread of its own beside the control loop.

It listens to announcements and sends heartbeats and receipts. `PolicyInstaller` verifies and installs what arrives; the
control loop swaps it in between two steps.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import zmq

from floop_robot.bundle import Manifest
from floop_robot.bundle.delivery import (
    ANNOUNCEMENTS,
    ROBOT_REPLIES,
    TOPIC,
    Announcement,
    FetchPolicy,
    Heartbeat,
    InstallStage,
    NameRefusal,
    PolicyDelivery,
    Receipt,
    ReceiptAck,
    ReceiptReport,
    RobotHost,
    RobotRequest,
    Target,
)
from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.durable.owned_thread import OwnedThread
from floop_robot.robot.drain_state import DrainState
from floop_robot.robot.local_store import StoredPolicy
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.robot.policy_installer import PolicyInstaller
from floop_robot.spec.errors import FloopError
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec
from floop_robot.transport.zmq_sockets import Context, Socket, connect_socket, receive

FIRST_STEP_POLL_S: Final = 0.01
"""How often the buffer is asked whether the new policy acts; a receipt is at most this late."""
POLL_S: Final = 0.1
RECONNECT_S: Final = 0.05
FETCH_INTERVAL_S: Final = 0.5
MAX_FETCH_INTERVAL_S: Final = 10.0
"""After refusals in a row the same version is fetched ever more rarely, down to this."""
MAX_DOUBLINGS: Final = 5
SILENT_HEARTBEATS: Final = 4
"""A fleet manager that left this many heartbeats unanswered is not linked."""
FIRST_ANSWER_S: Final = 2.0
"""How long the first word of the fleet manager about this robot's name is waited for."""
MAX_RECEIPTS: Final = 200
"""Receipts kept for an absent fleet manager. The oldest are dropped first: they are reports only."""


class UpdaterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Which robot this is and where it connects to."""

    robot: str
    boot_id: str
    announcements: str
    """`Endpoints.fleet`."""
    rpc: str
    """`Endpoints.fleet_rpc`."""
    folder: Path
    """Where the last good policy and the drains are kept."""
    heartbeat_s: float
    host: RobotHost = RobotHost()
    """Where it runs; see `host_identity`."""
    secret: str = ""
    """Made at the robot's first start; the fleet manager takes its messages from nobody else."""


class UpdaterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of an updater."""

    newest: Receipt | None
    """The last receipt; None before any version arrived."""
    manifests: tuple[Manifest, ...]
    """Of the versions installed last, oldest first."""
    is_linked: bool
    """The fleet manager answers."""
    name_refused: str = ""
    """Why the fleet manager refuses this robot: another host has its name. Empty when it does not."""

    def manifest(self, version: int) -> Manifest | None:
        """The manifest of a version installed recently; None if it is not among them."""
        return next((m for m in self.manifests if m.version == version), None)


class PolicyUpdater:
    """Keeps a robot on the version that the fleet manager wants. A context manager, or `start` and `stop` it."""

    def __init__(
        self,
        config: UpdaterConfig,
        task: TaskSpec,
        ids: Ids,
        policy_buffer: PolicyBuffer,
        notice: Callable[[str], None] = lambda _: None,
        drain_state: DrainState | None = None,
        on_name: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`notice` gets one line per event that a person or a log should see, from the updater's thread.

        `on_name` gets the reason when the fleet manager refuses this robot's name, and an empty text when it accepts
        it or has said nothing for `FIRST_ANSWER_S`.
        """
        self._config, self._notice = config, notice
        self._drain_state = drain_state or DrainState(config.folder)
        self._installer = PolicyInstaller(
            config.robot, task, ids, policy_buffer, StoredPolicy(config.folder), self._report, notice
        )
        self._contract, self._on_name = ids.contract, on_name
        self._name_refused: str | None = None
        """None before the first word of the fleet manager."""
        self._stop = threading.Event()
        self._thread = OwnedThread(self._run, f"policy-updater-{config.robot}", self._stop)
        self._rpc: Socket | None = None
        self._receipts: dict[tuple[int, InstallStage, bool], Receipt] = {}
        """By version, stage and whether it failed: sent with every heartbeat until acknowledged."""
        self._newest: Receipt | None = None
        self._fetch_due_s = 0.0
        self._heard_s = -math.inf

    def status(self) -> UpdaterStatus:
        """The state now; from any thread."""
        silent_s = time.monotonic() - self._heard_s
        return UpdaterStatus(
            newest=self._newest,
            manifests=self._installer.manifests,
            is_linked=silent_s <= SILENT_HEARTBEATS * self._config.heartbeat_s,
            name_refused=self._name_refused or "",
        )

    @property
    def version(self) -> int:
        """The last version given to the buffer; 0 before the first."""
        return self._installer.version

    def start(self) -> None:
        """Install the stored policy, if there is one, and connect."""
        self._installer.restore()
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

    def _run(self) -> None:
        context: Context = zmq.Context()
        try:
            announcements = connect_socket(context, zmq.SUB, self._config.announcements, topic=TOPIC)
            self._rpc = connect_socket(context, zmq.DEALER, self._config.rpc)
            self._serve(announcements, self._rpc)
        finally:
            self._rpc = None
            context.destroy(0)

    def _serve(self, announcements: Socket, rpc: Socket) -> None:
        poller = zmq.Poller()
        poller.register(announcements, zmq.POLLIN)
        poller.register(rpc, zmq.POLLIN)
        heartbeat_due_s, answer_due_s = 0.0, time.monotonic() + FIRST_ANSWER_S
        while not self._stop.is_set():
            now_s = time.monotonic()
            if self._name_refused is None and now_s >= answer_due_s:
                self._set_name_refused("")
            if now_s >= heartbeat_due_s:
                # Before the connection stands nothing is queued: try again soon.
                heartbeat_due_s = now_s + (self._config.heartbeat_s if self._send_heartbeat() else RECONNECT_S)
            waiting = self._installer.awaits_first_step
            wait_s = FIRST_STEP_POLL_S if waiting else min(POLL_S, max(0.001, heartbeat_due_s - now_s))
            ready = dict(poller.poll(int(1000 * wait_s)))
            if announcements in ready and (frames := receive(announcements)):
                self._on_announcement(frames)
            if rpc in ready and (frames := receive(rpc)):
                self._on_reply(frames)
            self._installer.check_first_step()
            self._installer.check_fallback()

    def _send_heartbeat(self) -> bool:
        drain_state, held = self._drain_state, self._installer.held_manifest
        heartbeat = Heartbeat(
            robot=self._config.robot,
            boot_id=self._config.boot_id,
            host=self._config.host,
            contract=self._contract,
            version=self._installer.held,
            epoch=held.epoch if held else 0,
            sha256=held.sha256 if held else "",
            secret=self._config.secret,
            acting=self._installer.acting,
            idle=drain_state.idle,
            drained=drain_state.drained,
            estop=drain_state.estop,
        )
        sent = self._send(heartbeat)
        for receipt in list(self._receipts.values()) if sent else ():
            self._send(self._receipt_report(receipt))
        return sent

    def _receipt_report(self, receipt: Receipt) -> ReceiptReport:
        return ReceiptReport(receipt=receipt, host=self._config.host, secret=self._config.secret)

    def _send(self, request: RobotRequest) -> bool:
        """Send without waiting; False when it could not be queued."""
        if self._rpc is None:
            return False
        try:
            self._rpc.send_multipart([b"", frame_message(request)], zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _on_announcement(self, frames: list[bytes]) -> None:
        arrived_s = time.monotonic()
        try:
            message: Announcement = deframe_message(frames[-1], ANNOUNCEMENTS)
        except MessageRefused as error:
            self._notice(f"an announcement was dropped: {error}")  # the next heartbeat shows what was missed
            return
        robot = self._config.robot
        if self._name_refused:
            return  # it is for the other robot of this name
        if robot in message.but or (message.only and robot not in message.only):
            return
        self._install(message, arrived_s)

    def _on_reply(self, frames: list[bytes]) -> None:
        arrived_s = time.monotonic()
        try:
            reply = deframe_message(frames[-1], ROBOT_REPLIES)
        except MessageRefused as error:
            self._notice(f"an answer of the fleet manager was dropped: {error}")
            return
        self._heard_s = arrived_s
        if isinstance(reply, NameRefusal):
            self._set_name_refused(reply.reason)
        elif isinstance(reply, Target):
            self._set_name_refused("")
            self._apply_drain(reply)
            if reply.version > self._installer.version and arrived_s >= self._fetch_due_s:
                self._fetch_due_s = arrived_s + FETCH_INTERVAL_S
                self._send(FetchPolicy(version=reply.version))
        elif isinstance(reply, PolicyDelivery):
            self._install(reply, arrived_s)
        elif isinstance(reply, ReceiptAck):
            self._receipts.pop((reply.version, reply.stage, reply.failed), None)

    def _set_name_refused(self, reason: str) -> None:
        was, self._name_refused = self._name_refused, reason
        if was is not None and bool(was) == bool(reason):
            return  # how long the other was silent is another text each time
        self._on_name(reason)
        if reason:
            self._notice(f"the fleet manager refuses this robot: {reason}")
        elif was:
            self._notice(f"the fleet manager accepts {self._config.robot} on this host now")

    def _install(self, message: Announcement | PolicyDelivery, arrived_s: float) -> None:
        if not self._installer.install(message, arrived_s):
            # It may have been damaged on the way only, so it is fetched again.
            doublings = min(MAX_DOUBLINGS, self._installer.refusals)
            self._fetch_due_s = time.monotonic() + min(MAX_FETCH_INTERVAL_S, FETCH_INTERVAL_S * 2.0**doublings)

    def _apply_drain(self, target: Target) -> None:
        if target.drain == self._drain_state.by_fleet_manager or target.epoch < self._installer.epoch:
            return
        try:
            self._drain_state.set_fleet_drain(target.drain)
        except FloopError as error:
            ended = "" if target.drain else "the end of "
            self._notice(f"a restart would forget {ended}the fleet manager's drain: {error}")

    def _report(self, receipt: Receipt) -> None:
        """Send a receipt now, and again with every heartbeat until it is acknowledged."""
        self._receipts[receipt.version, receipt.stage, receipt.failed] = self._newest = receipt
        while len(self._receipts) > MAX_RECEIPTS:
            del self._receipts[next(iter(self._receipts))]
        self._send(self._receipt_report(receipt))
