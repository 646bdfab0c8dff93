"""Versions and their history; one writer."""

from floop_robot.deploy.registry.history import read_history
from floop_robot.deploy.registry.records import (
    FLEET,
    AuditEntry,
    CandidateInfo,
    CandidateState,
    Directive,
    History,
    InstallStage,
    JournalPosition,
    LiveEpisode,
    LiveLabel,
    Origin,
    Receipt,
    StoredReceipt,
    VersionInfo,
    VersionNumber,
)
from floop_robot.deploy.registry.registry import BASELINE, PRODUCTION, Publication, Registry
from floop_robot.durable.writer_lock import RegistryBusy, RegistryFenced

__all__ = [
    "BASELINE",
    "FLEET",
    "PRODUCTION",
    "AuditEntry",
    "CandidateInfo",
    "CandidateState",
    "Directive",
    "History",
    "InstallStage",
    "JournalPosition",
    "LiveEpisode",
    "LiveLabel",
    "Origin",
    "Publication",
    "Receipt",
    "Registry",
    "RegistryBusy",
    "RegistryFenced",
    "StoredReceipt",
    "VersionInfo",
    "VersionNumber",
    "read_history",
]
