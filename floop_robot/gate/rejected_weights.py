"""RejectedWeights: candidates that were rejected against one incumbent, so that none of them is judged again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

SAME_WEIGHTS = "it has the same weights as the policy that it would be compared with: nothing is judged"
MAX_REJECTED = 300
"""Of more, those that were asked about longest ago are forgotten. They make 60 kB in the file of `TrialHistory`."""


class RejectedWeights:
    """Why weights were rejected, by the setting: what failed, in which worlds. In another they may be the cure."""

    def __init__(self, entries: Iterable[tuple[tuple[str, ...], str, str]] = ()) -> None:
        """`entries`: setting, sha256 and reason of each, those asked about longest ago first."""
        self._reasons = OrderedDict(((setting, sha256), reason) for setting, sha256, reason in entries)

    def add(self, setting: tuple[str, ...], sha256: str, reason: str) -> None:
        """Weights were rejected in a setting."""
        self._reasons[setting, sha256] = reason
        while len(self._reasons) > MAX_REJECTED:
            self._reasons.popitem(last=False)

    def reason(self, setting: tuple[str, ...], sha256: str) -> str:
        """Why these weights were rejected in the same setting; empty if they were not."""
        if (setting, sha256) in self._reasons:
            self._reasons.move_to_end((setting, sha256))
        return self._reasons.get((setting, sha256), "")

    @property
    def entries(self) -> list[tuple[tuple[str, ...], str, str]]:
        """All of them, as `__init__` takes them."""
        return [(setting, sha256, reason) for (setting, sha256), reason in self._reasons.items()]
