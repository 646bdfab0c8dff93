"""EstopLatch: the software e-stop, kept on disk.

It is no safety function in the sense of ISO 13849: the robot's own emergency stop is.
"""

from __future__ import annotations

import secrets
from collections import deque
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import structs

from floop_robot.durable.checked_json import seal, unseal
from floop_robot.durable.stop_file import StopFile
from floop_robot.robot.host_identity import kernel_boot_id
from floop_robot.robot.messages import ResetCommand, StartCommand, StopCommand
from floop_robot.spec.estop import EstopState, join_texts, short_id
from floop_robot.spec.wall_clock import wall_clock_ns

NONCE_PERIOD_S: Final = 1.0
NONCE_LIFETIME_S: Final = 20.0
"""How long a person may take from reading the state to the reset that names it."""
MAX_REQUESTS: Final = 32
"""Stops of one latch whose `request_id` is remembered; an older one that is repeated counts as another stop."""
ALREADY_RESET: Final = "already reset"
OTHER_STOP: Final = "it was stopped again, or safety was started again: look at its state, and ask again"
OLD_NONCE: Final = f"the nonce is of no state that it published in the last {NONCE_LIFETIME_S:g} s; read it, ask again"

Verdict = tuple[bool, str]
"""Whether a command was carried out, and a message."""


class _Record(EstopState, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file holds, as JSON. What has no default must be there."""

    latched: bool
    start_required: bool
    stop_id: str
    boot_id: str
    """Of the kernel under which a real arm's process wrote this last; empty before the first time."""
    request_ids: tuple[str, ...] = ()
    """Of the stops since the last reset, as far as they had one."""


_RECORDS: Final = msgspec.json.Decoder(_Record)


class EstopLatch:
    """Set by any stop; cleared only by a reset that names the stop. One thread applies commands, any thread reads.

    With a `path` it outlives its process. A file that cannot be read means stopped. A real arm also starts stopped
    after the computer was started, and moves after a reset only once it is started.
    """

    def __init__(self, path: Path | None = None, *, is_real: bool = False, boot_id: str | None = None) -> None:
        """`boot_id`: names this run of the kernel; read from the kernel by default."""
        record = _Record(latched=False, start_required=False, stop_id="", boot_id="")
        self.file = StopFile(path, record, lambda r: seal(msgspec.json.encode(r)), lambda r: r.latched)
        self._is_real, self._boot_id = is_real, kernel_boot_id() if boot_id is None else boot_id
        self._nonces: deque[tuple[str, float]] = deque(maxlen=int(NONCE_LIFETIME_S / NONCE_PERIOD_S) + 2)
        if problem := self.file.load(lambda data: _RECORDS.decode(unseal(data, path))):
            self.stop(StopCommand(who="safety", why=f"the e-stop latch {path} cannot be read: {problem}"))
        elif self.is_set:
            self._change(stop_id=_new_id())
        elif is_real and (not self._boot_id or self._record.boot_id != self._boot_id):
            since = "the computer was started" if self._record.boot_id else "this run directory did not know the arm"
            self.stop(StopCommand(who="safety", why=f"{since}: look at the arm before the reset"))

    @property
    def _record(self) -> _Record:
        return self.file.value

    def _change(self, **fields: Any) -> None:
        # `floop stop` and a simulated arm write the same file, and know nothing of the arm since the start.
        boot_id = self._boot_id if self._is_real else self._record.boot_id
        self.file.value = structs.replace(self._record, boot_id=boot_id, **fields)

    @property
    def is_set(self) -> bool:
        """Stopped."""
        return self._record.latched

    @property
    def blocks(self) -> bool:
        """The arm stands: it is stopped, or was reset and not started yet."""
        return self._record.latched or self._record.start_required

    @property
    def reason(self) -> str:
        """Why the arm stands, in words; empty when it may move."""
        if self._record.start_required:
            return "reset, and not started yet: call start_episode or execute_task"
        why = f": {self._record.why}" if self._record.why else ""
        return f"stopped by {self._record.who}{why}" if self.is_set else ""

    def stop(self, command: StopCommand) -> bool:
        """Stop; returns whether this is a new stop. Reasons are collected until the reset."""
        request_id = short_id(command.request_id)
        ids, who, why = (self._record.request_ids, self._record.who, self._record.why) if self.is_set else ((), "", "")
        if request_id in ids:
            return False
        self._change(
            latched=True,
            start_required=False,
            stop_id=_new_id(),
            request_id=request_id,
            request_ids=(*ids, request_id)[-MAX_REQUESTS:] if request_id else ids,
            who=join_texts(who, command.who or "unknown"),
            why=join_texts(why, command.why),
            since_ns=wall_clock_ns(),
        )
        return True

    def reset(self, command: ResetCommand, now_s: float, held: str = "") -> Verdict:
        """Reset the stop that is named.

        `held`: a stop input that says stop at present; `now_s`: steady clock.
        """
        if not command.stop_id:
            return False, "name the stop: stop_id is empty"
        if command.stop_id != self._record.stop_id:
            return False, OTHER_STOP
        if not self.is_set:
            return True, ALREADY_RESET
        if held:
            return False, f"{held} still says stop"
        if not any(n == command.nonce and now_s - at_s <= NONCE_LIFETIME_S for n, at_s in self._nonces):
            return False, OLD_NONCE
        who, why = join_texts("", command.who), join_texts("", command.why)
        self._change(latched=False, start_required=self._is_real, who=who, why=why, since_ns=wall_clock_ns())
        return True, "reset" + (", and stands until it is started" if self._is_real else "")

    def start(self, command: StartCommand) -> Verdict:
        """Let an arm move after its reset."""
        if self.is_set or command.stop_id != self._record.stop_id:
            return False, OTHER_STOP
        self._change(start_required=False)
        return True, "started"

    def renew_nonce(self, now_s: float) -> None:
        """Make another nonce when the present one is a second old; `now_s`: steady clock."""
        if not self._nonces or now_s - self._nonces[-1][1] >= NONCE_PERIOD_S:
            self._nonces.append((_new_id(), now_s))

    def state(self, *, hardware_stop: bool = False) -> EstopState:
        """The latch as it is."""
        record, nonce = self._record, self._nonces[-1][0] if self._nonces else ""
        on_disk = self.file.is_saved and self._record is record  # another thread may have changed it meanwhile
        return structs.replace(record, on_disk=on_disk, hardware_stop=hardware_stop, nonce=nonce)


def _new_id() -> str:
    return "n" + secrets.token_hex(8)  # a letter first: YAML on a command line reads 12e4 as a number
