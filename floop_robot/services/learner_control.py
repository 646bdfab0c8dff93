"""LearnerControl: the learner process's port for operators: status, pause, resume, write a checkpoint."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.deploy.commands import CommandResult
from floop_robot.durable.checked_json import FileDamaged, seal, unseal
from floop_robot.durable.framing import MessageRefused, deframe_message, frame_message
from floop_robot.learn.status import LearnerStatus
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services.learner_client import (
    REQUESTS,
    GetLearnerStatus,
    LearnerCommandRefused,
    LearnerCommandResult,
    Pause,
    Reply,
    Request,
    WriteCheckpoint,
)
from floop_robot.spec.errors import FloopError, StorageError
from floop_robot.spec.wall_clock import wall_clock_ns
from floop_robot.transport.listener import Listener
from floop_robot.transport.peer_guard import PeerLimits

PAUSED_FILE = "learner.paused"
_MAX_STORED_REPLIES = 64
"""Answers stored for repeated calls: a caller repeats within seconds."""
_QUEUE = 16
_MAX_REQUEST_BYTES = 64 * 1024
_LIMITS = PeerLimits(unread_bytes=1 << 20)
_MAX_REQUESTS_PER_CALL = 16


class PauseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused the learner; a file beside its checkpoint while it is paused."""

    who: str
    why: str
    stamp_ns: int


class LearnerControl:
    """Answers operators between two steps of the learner, in its thread."""

    def __init__(self, endpoint: str, run_dir: Path, operators: OperatorTokens) -> None:
        """Bind `endpoint`; raises `BindError` or, when the pause's file can't be read, `StorageError`."""
        self._operators, self._path = operators, run_dir / PAUSED_FILE
        self.pause_record = self._read_pause_record()
        """Who paused the learner; None while it isn't paused."""
        self._answers: OrderedDict[str, tuple[tuple[object, ...], LearnerCommandResult]] = OrderedDict()
        """What was asked under each `call_id`, and the answer."""
        self._listener = Listener(endpoint, "the learner", _LIMITS, queue=_QUEUE, max_message_bytes=_MAX_REQUEST_BYTES)

    def close(self) -> None:
        """Close the port."""
        self._listener.close()

    def serve(self, status: Callable[[], LearnerStatus], checkpoint: Callable[[], None], wait_s: float = 0.0) -> None:
        """Answer what has arrived, or arrives within `wait_s`."""
        if not self._listener.socket.poll(int(1000 * wait_s)):
            return
        for _ in range(_MAX_REQUESTS_PER_CALL):
            frames = self._listener.receive()
            if not frames:
                return
            if len(frames) != 3:
                self._listener.refuse(frames[0])
                continue
            peer, request_id, payload = frames
            try:
                request = deframe_message(payload, REQUESTS)
            except MessageRefused:
                self._listener.refuse(peer)
                continue
            reply = self._answer(request, status, checkpoint)
            self._listener.send([peer, request_id, frame_message(reply)])

    def _answer(self, request: Request, status: Callable[[], LearnerStatus], checkpoint: Callable[[], None]) -> Reply:
        if isinstance(request, GetLearnerStatus):
            return status()
        refusal = self._operators.refusal(request.who, request.token)
        if refusal:
            return LearnerCommandRefused(reason=refusal)
        if (known := self._answers.get(request.call_id)) is not None:
            asked, answer = known
            if asked == _what(request):
                return answer
            return LearnerCommandRefused(reason=f"call_id {request.call_id} is that of another call; give another")
        try:
            what = self._execute(request, checkpoint)
        except FloopError as error:
            return LearnerCommandRefused(reason=str(error))
        done = CommandResult(who=request.who, what=what, stamp_ns=wall_clock_ns(), detail=request.why)
        answer = LearnerCommandResult(done=done, status=status())
        self._answers[request.call_id] = _what(request), answer
        while len(self._answers) > _MAX_STORED_REPLIES:
            self._answers.popitem(last=False)
        return answer

    def _execute(self, request: Pause | WriteCheckpoint, checkpoint: Callable[[], None]) -> str:
        if isinstance(request, WriteCheckpoint):
            checkpoint()
            return "wrote a checkpoint"
        if request.pause:
            pause_record = PauseRecord(who=request.who, why=request.why, stamp_ns=wall_clock_ns())
            write_atomic(self._path, seal(msgspec.json.encode(pause_record)))
            self.pause_record = pause_record
            return "paused the learner"
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {self._path}: {error.strerror}; remove it by hand") from None
        self.pause_record = None
        return "let the learner go on"

    def _read_pause_record(self) -> PauseRecord | None:
        try:
            return msgspec.json.decode(unseal(self._path.read_bytes(), self._path), type=PauseRecord)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, FileDamaged) as error:
            raise StorageError(f"cannot read {self._path} ({error}); remove it to let the learner go on") from None


def _what(request: Pause | WriteCheckpoint) -> tuple[object, ...]:
    """Who asks for what: a repeated call asks for the same."""
    return request.who, type(request), request.pause if isinstance(request, Pause) else None


def written_ns(path: Path) -> int:
    """When a file was written, wall clock; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
