"""PolicyInstaller: verifies a bundle that reached the robot and hands its policy to the control loop.

No sockets and no threads: `PolicyUpdater` calls it from its own thread. A version that is refused changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from floop_robot.bundle import Bundle, Manifest, VerifiedBundle, verify
from floop_robot.bundle.delivery import Announcement, InstallStage, PolicyDelivery, Receipt
from floop_robot.robot.local_store import StoredPolicy
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.spec.calibration import NO_OFFSET
from floop_robot.spec.errors import BundleRefused, FloopError
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec

MAX_STORED_MANIFESTS: Final = 3
"""What acts, what acted before, and what comes next."""


MAX_DETAIL: Final = 1000
"""Characters of a receipt's text."""


class PolicyInstaller:
    """Installs versions on one robot and reports every stage with a `Receipt`."""

    def __init__(
        self,
        robot: str,
        task: TaskSpec,
        ids: Ids,
        policy_buffer: PolicyBuffer,
        store: StoredPolicy,
        report: Callable[[Receipt], None],
        notice: Callable[[str], None],
    ) -> None:
        """`report` gets each receipt; `notice` gets one line for a log or a person."""
        self._robot, self._task, self._ids = robot, task, ids
        self._policy_buffer, self._store = policy_buffer, store
        self._report, self._notice = report, notice
        self._offered: deque[Bundle] = deque(maxlen=2)
        """Given to the buffer last: the current policy and the one it may fall back to."""
        self._awaited: tuple[int, float] | None = None
        """Version whose first control step is awaited, and when its bundle arrived (steady clock, s)."""
        self._last_fallback: tuple[int, int] | None = None
        self.version = 0
        """Last version given to the buffer; 0 before the first."""
        self.epoch = 0
        """Epoch of that version."""
        self.acting = 0
        """Version of the last control step; 0 before the first."""
        self.refusals = 0
        """Versions refused in a row."""
        self.manifests: tuple[Manifest, ...] = ()
        """Of the versions given to the buffer last, oldest first."""

    @property
    def held(self) -> int:
        """The version that the robot acts on, or will from its next step on."""
        fallback = self._last_fallback
        return fallback[1] if fallback is not None and fallback[0] == self.version else self.version

    @property
    def held_manifest(self) -> Manifest | None:
        """The manifest of that version; None when there is none."""
        return next((each for each in reversed(self.manifests) if each.version == self.held), None)

    @property
    def awaits_first_step(self) -> bool:
        """An installed version has not acted yet."""
        return self._awaited is not None

    def restore(self) -> None:
        """Install the policy that this robot stored before it was restarted, if there is one."""
        arrived_s = time.monotonic()
        try:
            stored = self._store.load(self._task, self._ids, self._robot)
        except FloopError as error:
            self._notice(f"the stored policy is not used: {error}")
            return
        if stored:
            self._offer(stored, arrived_s)

    def install(self, message: Announcement | PolicyDelivery, arrived_s: float) -> bool:
        """Verify a bundle and install it; False if it was refused, and what acts goes on acting."""
        version = message.version
        if version <= self.version:
            if version == self.version:
                self._compare(message, arrived_s)
            return True  # received before: broadcast and delivery overlap
        self._receipt(version, InstallStage.RECEIVED, 0.0)
        try:
            verified = self._verify(message)
        except FloopError as error:
            self._refuse(version, error, arrived_s)
            return False
        self._receipt(version, InstallStage.VERIFIED, time.monotonic() - arrived_s, "; ".join(verified.notes))
        self._offer(verified, arrived_s)
        self._receipt(version, InstallStage.INSTALLED, time.monotonic() - arrived_s)
        self.refusals = 0
        self._keep(message.bundle, version)
        return True

    def check_first_step(self) -> None:
        """Report when the installed version has acted for the first time."""
        if self._awaited is None:
            return
        version, arrived_s = self._awaited
        first_s = self._policy_buffer.first_step_s(version)
        if first_s is not None:
            self._awaited, self.acting = None, version
            self._receipt(version, InstallStage.ACTING, first_s - arrived_s)

    def check_fallback(self) -> None:
        """Report when the control loop went back to the previous policy, and keep that one over restarts."""
        fallback = self._policy_buffer.last_fallback
        if fallback is None or fallback == self._last_fallback:
            return
        self._last_fallback = fallback
        bad, self.acting = fallback
        if self._awaited is not None and self._awaited[0] == bad:
            self._awaited = None
        result = f"went back to v{self.acting}" if self.acting else "stands still: there is none to go back to"
        line = f"v{bad} answered with NaN or infinity on {self._robot}, which {result}. Push another policy."
        self._notice(line)
        self._receipt(bad, InstallStage.REFUSED, 0.0, line, fallback_version=self.acting)
        for bundle in self._offered:
            if bundle.manifest.version == self.acting:
                self._keep(bundle.to_bytes(), self.acting)

    def _verify(self, message: Announcement | PolicyDelivery) -> VerifiedBundle:
        robot = self._robot
        bundle = Bundle.from_bytes(message.bundle, f"v{message.version} as it reached {robot}")
        manifest = bundle.manifest
        if manifest.version != message.version:
            raise BundleRefused(f"announced v{message.version} holds {manifest.title}; publish it again")
        if manifest.epoch < self.epoch:
            raise BundleRefused(
                f"policy {manifest.title} comes from epoch {manifest.epoch}, but {robot} knows epoch {self.epoch}; "
                "stop the older fleet manager"
            )
        return verify(bundle, self._task, self._ids, where=robot, newer_than=self.version)

    def _compare(self, message: Announcement | PolicyDelivery, arrived_s: float) -> None:
        """Refuse another policy under the number of the one that is installed."""
        installed = self.manifests[-1] if self.manifests else None
        try:
            other = Bundle.from_bytes(message.bundle, f"v{message.version} as it reached {self._robot}").manifest
        except FloopError:
            return  # damaged on the way; there is no need of it
        if installed is not None and installed.version == other.version and installed.sha256 != other.sha256:
            fault = BundleRefused(
                f"it is another policy ({other.sha256[:8]}) than v{installed.version} here ({installed.sha256[:8]}); "
                "the registry was restored from a copy, and the fleet manager must publish under a new number"
            )
            self._refuse(message.version, fault, arrived_s)

    def _offer(self, verified: VerifiedBundle, arrived_s: float) -> None:
        manifest = verified.bundle.manifest
        self.manifests = (*self.manifests, manifest)[-MAX_STORED_MANIFESTS:]
        self._policy_buffer.offer(manifest.version, verified.actor, manifest.calibration.get(self._robot, NO_OFFSET))
        self._offered.append(verified.bundle)
        self.version, self.epoch = manifest.version, manifest.epoch
        self._awaited = manifest.version, arrived_s
        for note in verified.notes:
            self._notice(note)

    def _keep(self, blob: bytes, version: int) -> None:
        try:
            self._store.store(blob)
        except FloopError as error:
            self._notice(f"v{version} acts, but would not survive a restart: {error}")

    def _refuse(self, version: int, error: FloopError, arrived_s: float) -> None:
        keeps = f"keeps v{self.version}" if self.version else "has no policy yet"
        line = f"v{version} was refused by {self._robot}: {error}. {self._robot} {keeps}."
        self._notice(line)
        self.refusals += 1
        self._receipt(version, InstallStage.REFUSED, time.monotonic() - arrived_s, line)

    def _receipt(
        self, version: int, stage: InstallStage, since_s: float, detail: str = "", fallback_version: int | None = None
    ) -> None:
        self._report(
            Receipt(
                robot=self._robot,
                version=version,
                stage=stage,
                since_received_s=since_s,
                detail=detail[:MAX_DETAIL],
                fallback_version=fallback_version,
            )
        )
