"""RobotHosts: which host has which robot's name. The first goes on, another is refused until the first is gone."""

from __future__ import annotations

import contextlib

import msgspec

from floop_robot.bundle.delivery import RobotHost
from floop_robot.deploy.registry import Registry
from floop_robot.spec.errors import StorageError

REPLACED_AFTER_S = 10.0
"""A host that was silent for so long may be replaced by another; also how long a duplicate is shown."""
NOTED_EVERY_S = 60.0
"""A refused duplicate is written into the audit at most as often, for each robot."""


class _LastHeard(msgspec.Struct, frozen=True):
    host: RobotHost
    at_ns: int


class RobotHosts:
    """Owners of robot names; on disk, so that a restarted fleet manager takes no second host for the first."""

    def __init__(self, registry: Registry, who: str, now_ns: int) -> None:
        """`who` signs in the audit. Owners of before get as long to speak as any other."""
        self._registry, self._who = registry, who
        self._owners = {robot: _LastHeard(host, now_ns) for robot, host in registry.robot_hosts().items()}
        self._refused: dict[str, _LastHeard] = {}
        self._noted_ns: dict[str, int] = {}

    def refusal(self, robot: str, host: RobotHost, now_ns: int) -> str:
        """Why this host may not use the name, in one line; empty if it may."""
        owner = self._owners.get(robot)
        if owner is None or owner.host.id == host.id:
            return ""
        if (silent_s := (now_ns - owner.at_ns) * 1e-9) >= REPLACED_AFTER_S:
            return ""
        self._refuse(robot, owner.host, host, now_ns)
        return (
            f"the name {robot} is in use by {owner.host.name or 'another host'}, heard {silent_s:.1f} s ago; "
            f"give this robot another name, or stop the other: {REPLACED_AFTER_S:g} s later the name is free"
        )

    def claim(self, robot: str, host: RobotHost, now_ns: int) -> str:
        """The same; if it may, it has the name from now on."""
        if refusal := self.refusal(robot, host, now_ns):
            return refusal
        owner = self._owners.get(robot)
        if owner is not None and owner.host.id != host.id:
            silent_s = (now_ns - owner.at_ns) * 1e-9
            self._note(f"{robot} runs on {host.name} now; {owner.host.name} was silent for {silent_s:.0f} s", now_ns)
            self._refused.pop(robot, None)
        if owner is None or owner.host != host:
            # With a full disk only a restarted fleet manager forgets who was first.
            with contextlib.suppress(StorageError):
                self._registry.set_robot_host(robot, host)
        self._owners[robot] = _LastHeard(host, now_ns)
        return ""

    def forget(self, robot: str) -> None:
        """The name is free."""
        self._owners.pop(robot, None)
        self._refused.pop(robot, None)
        self._noted_ns.pop(robot, None)
        with contextlib.suppress(StorageError):
            self._registry.forget_robot_host(robot)

    def name(self, robot: str) -> str:
        """The host that has the name; empty if none has."""
        owner = self._owners.get(robot)
        return owner.host.name if owner else ""

    def duplicate(self, robot: str, now_ns: int) -> str:
        """Another host that uses the name now; empty if none does."""
        seen = self._refused.get(robot)
        return seen.host.name if seen and (now_ns - seen.at_ns) * 1e-9 < REPLACED_AFTER_S else ""

    def _refuse(self, robot: str, owner: RobotHost, host: RobotHost, now_ns: int) -> None:
        self._refused[robot] = _LastHeard(host, now_ns)
        noted_ns = self._noted_ns.get(robot)
        if noted_ns is None or (now_ns - noted_ns) * 1e-9 >= NOTED_EVERY_S:
            self._noted_ns[robot] = now_ns
            self._note(f"refused a second {robot} on {host.name}; the first runs on {owner.name}", now_ns)

    def _note(self, what: str, now_ns: int) -> None:
        with contextlib.suppress(StorageError):
            self._registry.note(self._who, what, now_ns)
