"""LearnerControl: how the learner process answers operators: how is it, pause, go on, write a checkpoint."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from floop_robot.bundle import write_atomic
from floop_robot.services.learner_client import (
    REQUESTS,
    GetReport,
    LearnerDone,
    LearnerRefusal,
    LearnerReport,
    Pause,
    Reply,
    Request,
    WriteCheckpoint,
)
from floop_robot.robot.operators import OperatorTokens
from floop_robot.deploy.commands import Done
from floop_robot.durable.framing import MessageRefused, seal, unseal
from floop_robot.spec.errors import FloopError, StorageError
from floop_robot.transport.zmq_sockets import listen, receive

PAUSED_FILE = "learner.paused"
_KEPT_ANSWERS = 64
"""Answers kept for repeated calls: a caller repeats within seconds."""
_CALLS_PER_TURN = 16


class PauseMark(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused the learner; a file beside its checkpoint while it is paused."""

    who: str
    why: str
    stamp_ns: int


class LearnerControl:
    """The learner's side: answers between two steps of the learner, in its thread."""

    def __init__(self, endpoint: str, run_dir: Path, operators: OperatorTokens) -> None:
        """Bind `endpoint`; raises `PortTaken` or, when the pause mark can't be read, `StorageError`."""
        self._operators, self._path = operators, run_dir / PAUSED_FILE
        self.mark = self._read_mark()
        """Who paused the learner; None while it isn't paused."""
        self._answers: OrderedDict[str, LearnerDone] = OrderedDict()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        try:
            self._socket = listen(self._context, zmq.ROUTER, endpoint, "the learner")
        except BaseException:
            self._context.destroy(0)
            raise

    def close(self) -> None:
        """Close the port."""
        self._context.destroy(0)

    def serve(self, report: Callable[[], LearnerReport], checkpoint: Callable[[], None], wait_s: float = 0.0) -> None:
        """Answer what has arrived, or arrives within `wait_s`."""
        if not self._socket.poll(int(1000 * wait_s)):
            return
        for _ in range(_CALLS_PER_TURN):
            frames = receive(self._socket)
            if not frames:
                return
            if len(frames) != 3:
                continue
            peer, request_id, payload = frames
            try:
                request = unseal(payload, REQUESTS)
            except MessageRefused:
                continue
            reply = self._answer(request, report, checkpoint)
            try:
                self._socket.send_multipart([peer, request_id, seal(reply)], zmq.NOBLOCK)
            except zmq.ZMQError:
                continue  # the peer went away

    def _answer(self, request: Request, report: Callable[[], LearnerReport], checkpoint: Callable[[], None]) -> Reply:
        if isinstance(request, GetReport):
            return report()
        refusal = self._operators.refusal(request.who, request.token)
        if refusal:
            return LearnerRefusal(reason=refusal)
        known = self._answers.get(request.call_id)
        if known is not None:
            return known
        try:
            what = self._carry_out(request, checkpoint)
        except FloopError as error:
            return LearnerRefusal(reason=str(error))
        done = Done(who=request.who, what=what, stamp_ns=time.time_ns(), why=request.why)
        answer = self._answers[request.call_id] = LearnerDone(done=done, report=report())
        while len(self._answers) > _KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return answer

    def _carry_out(self, request: Pause | WriteCheckpoint, checkpoint: Callable[[], None]) -> str:
        if isinstance(request, WriteCheckpoint):
            checkpoint()
            return "wrote a checkpoint"
        if request.pause:
            mark = PauseMark(who=request.who, why=request.why, stamp_ns=time.time_ns())
            write_atomic(self._path, msgspec.json.encode(mark))
            self.mark = mark
            return "paused the learner"
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot remove {self._path}: {error.strerror}; remove it by hand") from None
        self.mark = None
        return "let the learner go on"

    def _read_mark(self) -> PauseMark | None:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=PauseMark)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StorageError(f"cannot read {self._path} ({error}); remove it to let the learner go on") from None


def written_ns(path: Path) -> int:
    """When a file was written, wall clock; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
