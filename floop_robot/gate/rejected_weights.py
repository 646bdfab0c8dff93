"""RejectedWeights: candidates that were rejected against one incumbent, so that none of them is judged again.

In memory only: a gate that was started again may judge one of them once more.
"""

from __future__ import annotations

from collections import OrderedDict

SAME_WEIGHTS = "it has the same weights as the policy that it would be compared with: nothing is judged"
MAX_REJECTED = 1000
"""Hours of a learner at work, in 200 kB; of more, those that were asked about longest ago are forgotten."""


class RejectedWeights:
    """Why weights were rejected, by the setting: what failed, in which worlds. In another they may be the cure."""

    def __init__(self) -> None:
        self._reasons: OrderedDict[tuple[tuple[str, ...], str], str] = OrderedDict()

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
