"""Versions and their history; one writer."""

from floop_robot.deploy.registry.database import RegistryFenced
from floop_robot.deploy.registry.history import check_registry, read_history
from floop_robot.deploy.registry.records import (
    FLEET,
    AuditEntry,
    CandidateInfo,
    CandidateState,
    Directive,
    History,
    JournalPosition,
    LiveEpisode,
    LiveLabel,
    Origin,
    StoredReceipt,
    VersionInfo,
)
from floop_robot.deploy.registry.registry import BASELINE, LEARNED, PRODUCTION, Publication, Registry

__all__ = [
    "BASELINE",
    "FLEET",
    "LEARNED",
    "PRODUCTION",
    "AuditEntry",
    "CandidateInfo",
    "CandidateState",
    "Directive",
    "History",
    "JournalPosition",
    "LiveEpisode",
    "LiveLabel",
    "Origin",
    "Publication",
    "Registry",
    "RegistryFenced",
    "StoredReceipt",
    "VersionInfo",
    "check_registry",
    "read_history",
]
