"""Versions and their history; one writer."""

from floop_robot.deploy.registry.history import read_history
from floop_robot.durable.writer_lock import RegistryBusy, RegistryFenced
from floop_robot.deploy.registry.records import (
    FLEET,
    AuditEntry,
    CandidateInfo,
    CandidateState,
    Directive,
    History,
    JournalRead,
    Origin,
    Receipt,
    SeenEpisode,
    SeenLabel,
    Stage,
    StoredReceipt,
    VersionInfo,
    VersionNumber,
)
from floop_robot.deploy.registry.registry import BASELINE, PRODUCTION, Publication, Registry

__all__ = [
    "BASELINE",
    "FLEET",
    "PRODUCTION",
    "AuditEntry",
    "CandidateInfo",
    "CandidateState",
    "Directive",
    "History",
    "JournalRead",
    "Origin",
    "Publication",
    "Receipt",
    "Registry",
    "RegistryBusy",
    "RegistryFenced",
    "SeenEpisode",
    "SeenLabel",
    "Stage",
    "StoredReceipt",
    "VersionInfo",
    "VersionNumber",
    "read_history",
]
