"""Versions and their history; one writer."""

from floop_robot.deploy.registry.database import RegistryFenced
from floop_robot.deploy.registry.history import check_registry, read_audit, read_history, read_versions
from floop_robot.deploy.registry.records import (
    BASELINE,
    FLEET,
    PRODUCTION,
    AuditEntry,
    CandidateInfo,
    CandidateState,
    Correction,
    Directive,
    History,
    JournalPosition,
    LiveEpisode,
    LiveLabel,
    Origin,
    StoredReceipt,
    VersionHistory,
    VersionInfo,
)
from floop_robot.deploy.registry.registry import LEARNED, Publication, Registry
from floop_robot.deploy.registry.retention import RegistryLimits, RegistryUse, registry_use
from floop_robot.deploy.registry.schema import SUBMITTED

__all__ = [
    "BASELINE",
    "FLEET",
    "LEARNED",
    "PRODUCTION",
    "SUBMITTED",
    "AuditEntry",
    "CandidateInfo",
    "CandidateState",
    "Correction",
    "Directive",
    "History",
    "JournalPosition",
    "LiveEpisode",
    "LiveLabel",
    "Origin",
    "Publication",
    "Registry",
    "RegistryFenced",
    "RegistryLimits",
    "RegistryUse",
    "StoredReceipt",
    "VersionHistory",
    "VersionInfo",
    "check_registry",
    "read_audit",
    "read_history",
    "read_versions",
    "registry_use",
]
