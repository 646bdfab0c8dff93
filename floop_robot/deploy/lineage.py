"""Which version came before which."""

from __future__ import annotations

from floop_robot.deploy.registry import Origin, Registry, VersionInfo
from floop_robot.spec.errors import FloopError


class NoPreviousVersion(FloopError):
    """There is no version to go back to."""


def version_before(registry: Registry, version: int) -> int:
    """The version that a rollback of `version` (in production; 0 if none is) goes back to.

    Raises `NoPreviousVersion`.
    """
    if not version:
        raise NoPreviousVersion("no version is in production yet; push one first")
    # A rollback replaced the version that it left. Look before the version whose bytes it restored.
    info = original(registry, version)
    bytes_now = info.sha256
    while info.replaces:
        before = registry.version(info.replaces)
        if before.sha256 != bytes_now:
            return before.version
        info = original(registry, before.version)  # the same bytes were pushed twice
    if info.version == version:
        raise NoPreviousVersion(f"v{version} is the first policy of this fleet; there is none to go back to")
    raise NoPreviousVersion(
        f"v{version} has the bytes of v{info.version}, the first policy of this fleet; name the version to go back to"
    )


def original(registry: Registry, version: int) -> VersionInfo:
    """The version whose bytes `version` has: itself, unless a rollback, pin or canary published older ones again."""
    info = registry.version(version)
    while info.restores and info.origin is not Origin.PUSH:
        info = registry.version(info.restores)
    return info


def first_of_watch(registry: Registry, version: int) -> VersionInfo | None:
    """The first of consecutive versions with the bytes of `version` (0: none): the watch of these began with it."""
    info = registry.version(version) if version else None
    while info and info.replaces and (before := registry.version(info.replaces)).sha256 == info.sha256:
        info = before
    return info


def rolled_back(info: VersionInfo) -> str:
    """What a rollback did, for the audit."""
    return f"rolled back to v{info.restores}, published as v{info.version}"
