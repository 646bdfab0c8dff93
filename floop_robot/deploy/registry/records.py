"""Rows of the registry: one frozen struct each. Stamps are wall-clock nanoseconds at the registry."""

from __future__ import annotations

import enum

import msgspec

from floop_robot.bundle.delivery import Receipt
from floop_robot.spec.calibration import Offset
from floop_robot.spec.ids import Ids
from floop_robot.spec.records import ActMode, OutcomeCode, Source
from floop_robot.spec.verdict import Verdict

PRODUCTION = "production"
BASELINE = "baseline"
"""Names that versions have."""
FLEET = "fleet"
"""The scope of all robots; any other scope is a robot's name."""


class Origin(enum.StrEnum):
    """Why a version was published."""

    BASELINE = "baseline"
    GATE = "gate"
    """A candidate that the gate accepted."""
    PUSH = "push"
    """A person's bundle."""
    ROLLBACK = "rollback"
    """Older bytes again: a person or the deployment monitor went back."""
    CANARY = "canary"
    """A candidate that the gate could not simulate: for one robot first, then, if it did better there, for all."""
    PIN = "pin"
    """Older bytes again: a person pinned them."""


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One policy version."""

    version: int
    epoch: int
    sha256: str
    """The policy's name: versions with the same one act alike."""
    parent: int
    """Version that it descends from; 0 for bytes from outside (a baseline, a pushed bundle).

    For learned bytes: the learner's version before it, or the baseline that the learner began with. A rollback changes
    nothing here, since the learner continues from its own weights. For older bytes: the version whose bytes these are.
    """
    replaces: int
    """Version in production when this one was published; 0 for the first."""
    restores: int
    """Version whose bytes are published again; 0 for new bytes."""
    task: str
    ids: Ids
    algo: str
    origin: Origin
    who: str
    journal_to: int
    """Last block of the journal that training had taken in."""
    decided_ns: int
    """When the verdict or the operator's call arrived."""
    published_ns: int
    gate_s: float
    """How long the gate judged, measured by the gate; 0 without a verdict."""
    bytes: int
    calibration: dict[str, Offset] = {}
    """What it subtracts from perceived object positions, by robot, m."""
    decision: str = ""
    """What the gate decided (`Decision`) before it was published; empty where the gate was not asked."""
    reason: str = ""
    """Why it was published, in words: the gate's reason, the monitor's, or that of the person who commanded it."""


class CandidateState(enum.StrEnum):
    """State of a judged candidate."""

    WAITING = "waiting"
    """Accepted; follows when the version in production has been watched."""
    PUBLISHED = "published"
    SUPERSEDED = "superseded"
    """A later accepted candidate took its place in the queue."""
    CANARY = "canary"
    """Given to the canary robot; the audit tells what became of it."""
    STALE = "stale"
    """Judged against another policy than the one it would replace."""
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"


class CandidateInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A judged candidate."""

    sha256: str
    state: CandidateState
    version: int
    """Version it was published under; 0 if it wasn't."""
    received_ns: int
    journal_to: int
    verdict: Verdict


class StoredReceipt(msgspec.Struct, frozen=True):
    """A receipt and when it arrived."""

    receipt: Receipt
    stamp_ns: int


class Directive(msgspec.Struct, frozen=True):
    """What operators commanded for the fleet or one robot, or what a canary robot tries.

    Operators hold a scope or pin it, never both.
    """

    scope: str
    hold: int = 0
    """Version that it is held on: updates do not reach it, rollbacks do. 0: not held.

    For the fleet: the one in production when it was held; production goes on without it."""
    pin: int = 0
    """Version that it is pinned to: neither updates nor rollbacks reach it. 0: not pinned."""
    drained: bool = False
    """Finishes its episode and starts no other."""
    canary: bool = False
    """The pin is no operator's: this robot tries a candidate."""

    @property
    def fixed(self) -> int:
        """The version that a robot stays on; 0 for one that follows the fleet."""
        return self.pin or self.hold


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what, and when."""

    stamp_ns: int
    epoch: int
    who: str
    what: str
    version: int = 0
    detail: str = ""


class LiveEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """An episode's end, as the fleet manager saw it in the journal."""

    robot: str
    boot_id: str
    episode: int
    block: int
    """Journal block that held it."""
    source: Source
    version: int
    act_mode: ActMode
    outcome: OutcomeCode
    """As the robot saw it, corrected by the last label; a failure found later is a TIMEOUT too."""
    object_class: str
    duration_s: float
    steps: int
    observed_ns: int
    """When the episode was seen, whenever its label came."""

    @property
    def production(self) -> bool:
        """Whether it counts for a version: a robot's episode, on mean actions, not aborted."""
        return (
            self.source is Source.ROBOT
            and self.act_mode is ActMode.MEAN
            and self.outcome is not OutcomeCode.ABORTED
            and self.version > 0
        )


class LiveLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A later judgment of an episode, as the fleet manager saw it in the journal."""

    robot: str
    boot_id: str
    """Of the stream that carried the label; `robot`, `boot_id` and `seq` are its key."""
    seq: int
    episode_boot_id: str
    """`robot`, `episode_boot_id` and `episode` are the key of the labeled episode."""
    episode: int
    success: bool
    author: str

    def correct(self, episode: LiveEpisode) -> LiveEpisode:
        """The episode with this label's outcome; an aborted episode stays aborted."""
        if episode.outcome is OutcomeCode.ABORTED or self.success == (episode.outcome is OutcomeCode.SUCCESS):
            return episode
        return msgspec.structs.replace(episode, outcome=OutcomeCode.SUCCESS if self.success else OutcomeCode.TIMEOUT)


class Correction(msgspec.Struct, frozen=True):
    """What a label changed."""

    number: int
    """Of the episode, in order of arrival."""
    was: LiveEpisode
    now: LiveEpisode


class JournalPosition(msgspec.Struct, frozen=True):
    """How far a journal was read."""

    through: int = 0
    """Last block."""
    journal_id: str = ""
    """Which journal; empty before the first answer."""


class VersionHistory(msgspec.Struct, frozen=True, kw_only=True):
    """The newest versions in a registry, and what tells their live success."""

    versions: tuple[VersionInfo, ...]
    count: int
    """How many versions there are."""
    weights: dict[int, str]
    """Name of each version's policy."""
    confirmed: frozenset[str]
    production: int
    baseline: int
    summary: bytes
    """What was counted up to some episode, in a frame; empty for nothing."""
    episodes: tuple[LiveEpisode, ...]
    """Those that came after it."""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """Everything in the registry of a run, in order of arrival."""

    versions: tuple[VersionInfo, ...]
    candidates: tuple[CandidateInfo, ...]
    receipts: tuple[StoredReceipt, ...]
    episodes: tuple[LiveEpisode, ...]
    confirmed: dict[str, int]
    """Policies, by name, whose live success was confirmed, and when."""
    audit: tuple[AuditEntry, ...]
    production: int = 0
    baseline: int = 0
