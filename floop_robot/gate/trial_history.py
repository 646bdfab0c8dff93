"""TrialHistory: what the gate knows of the candidates that were tried against one incumbent; it outlives the gate.

It is stored after each trial without an acceptance, in `RUN_DIR/gate/history.json`. So a gate that is started again
goes on with the error budgets that it had, and judges no rejected weights again.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from floop_robot.durable.checked_json import seal, unseal
from floop_robot.durable.files import write_atomic
from floop_robot.gate.error_budgets import ErrorBudgets, new_budgets
from floop_robot.gate.rejected_weights import RejectedWeights
from floop_robot.spec.errors import StorageError

log = logging.getLogger(__name__)


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    incumbent: str
    """The sha256 of its weights."""
    alpha: float
    budgets: list[tuple[tuple[str, ...], ErrorBudgets]]
    rejected: list[tuple[tuple[str, ...], str, str]]


class TrialHistory:
    """Error budgets by failing classes, and rejected weights by setting; owned by one thread."""

    def __init__(self, path: Path, alpha: float) -> None:
        self._path, self._alpha = path, alpha
        self._incumbent = ""
        self._budgets: dict[tuple[str, ...], ErrorBudgets] = {}
        self.rejected = RejectedWeights()

    def begin(self, incumbent: str) -> None:
        """Trials against these weights (a sha256) follow: go on with what is stored of them, or begin anew."""
        stored = self._load()
        if stored is None or (stored.incumbent, stored.alpha) != (incumbent, self._alpha):
            stored = _Stored(incumbent, self._alpha, [], [])
        self._incumbent, self._budgets = incumbent, dict(stored.budgets)
        self.rejected = RejectedWeights(stored.rejected)

    def budgets(self, classes: tuple[str, ...]) -> ErrorBudgets:
        """The error budgets while these classes fail."""
        return self._budgets.setdefault(classes, new_budgets(self._alpha))

    def store(self) -> None:
        """Write what is known; a disk that takes nothing is told in the log."""
        stored = _Stored(self._incumbent, self._alpha, list(self._budgets.items()), self.rejected.entries)
        try:
            write_atomic(self._path, seal(msgspec.json.encode(stored)))
        except StorageError as error:
            log.error("gate: %s; a gate that is started again won't know of this trial", error)

    def _load(self) -> _Stored | None:
        try:
            return msgspec.json.decode(unseal(self._path.read_bytes(), self._path), type=_Stored)
        except FileNotFoundError:
            return None
        except (OSError, StorageError, msgspec.MsgspecError) as error:
            log.warning("gate: earlier trials are forgotten, error budgets begin anew: %s", error)
            return None
