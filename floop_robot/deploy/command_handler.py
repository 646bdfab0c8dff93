"""CommandHandler: the only place that authorizes operators' commands, carries each out once, and audits it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.deploy.commands import (
    AnyCommand,
    AuditNote,
    Command,
    CommandResult,
    Drain,
    FleetCommand,
    GetScopeVersion,
    Hold,
    Pin,
    Push,
    Resume,
    Rollback,
)
from floop_robot.deploy.deployment_controller import DeploymentController
from floop_robot.deploy.lineage import rolled_back
from floop_robot.deploy.registry import FLEET, LEARNED, Directive, Origin, Publication, Registry
from floop_robot.durable.framing import pack
from floop_robot.spec.calibration import calibration_text
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.errors import CallRefused, UnknownName
from floop_robot.spec.ids import Ids
from floop_robot.spec.local_time import local_time
from floop_robot.spec.task import TaskSpec

FLEET_MANAGER = "the fleet manager"
STORED_TEXTS, MAX_TEXT = ("who", "why", "call_id", "what", "detail"), 1000
"""Fields that are kept for ever, and how many characters each may have."""
MAX_STORED_NOTES = 1000
"""Notes that are recognized when they are repeated, which happens within seconds."""


class CommandHandler:
    """Commands for one fleet. `authorize(who, token)` says in one line why these are refused; empty if they aren't."""

    def __init__(self, registry: Registry, config: DeployConfig, task: TaskSpec, ids: Ids,
                 authorize: Callable[[str, str], str], since_ns: int) -> None:  # fmt: skip
        self._registry, self._config, self._task, self._ids = registry, config, task, ids
        self._authorize, self._since_ns = authorize, since_ns
        self.controller = DeploymentController(registry, config, since_ns)
        self._now_ns = since_ns
        # Notes need no token, so they are not kept with the answers to commands: they could push those out.
        self._write_note_once = functools.lru_cache(MAX_STORED_NOTES)(self._write_note)
        self._carry_out: dict[type[FleetCommand], Callable[[Any, int], tuple[str, int]]] = {
            Push: self._push, Rollback: self._roll_back, Pin: self._pin,
            Hold: self._hold, Resume: self._resume, Drain: self._drain,
        }  # fmt: skip

    def serve(self, command: AnyCommand, robots: Collection[str], now_ns: int) -> CommandResult:
        """Carry out a command for these robots; a repeated one gets its first answer. Raises `FloopError`."""
        self._now_ns = now_ns
        self._check(command)
        if isinstance(command, AuditNote):
            return self._write_note_once(msgspec.structs.replace(command, token=""))  # of any length, and not needed
        if isinstance(command, GetScopeVersion):
            return self._result(command, "nothing", self._version_of(command.scope, robots))
        if (stored := self._registry.stored_command_result(command.call_id)) is not None:
            result = msgspec.msgpack.decode(stored, type=CommandResult)
            if result.who != command.who:
                raise CallRefused(f"call_id {command.call_id} is that of a command {result.who} gave; give another")
            return result
        current = self._version_of(command.scope, robots)
        self._check_version(command, current)
        try:
            with self._registry.transaction():
                result = self._result(command, *self._carry_out[type(command)](command, current))
                self._registry.store_command_result(command.call_id, pack(result), now_ns)
        except BaseException:
            # Nothing of it is on disk: forget what memory and announcements may hold of it.
            self.controller = DeploymentController(self._registry, self._config, self._since_ns)
            raise
        return result

    def _write_note(self, note: AuditNote) -> CommandResult:
        self._registry.note(note.who, note.what, self._now_ns, detail=_joined(note.detail, note.why))
        return self._result(note, note.what)

    def _result(self, command: Command, what: str, version: int = 0) -> CommandResult:
        epoch, now_ns, why = self._registry.epoch, self._now_ns, command.why
        return CommandResult(who=command.who, what=what, stamp_ns=now_ns, version=version, epoch=epoch, detail=why)

    def _check(self, command: AnyCommand) -> None:
        """Raise `CallRefused` unless the command is complete and whoever gives it may do so."""
        if not command.who.strip():
            raise CallRefused("who is empty: say who gives this command; the audit keeps the name")
        if not command.call_id:
            raise CallRefused("call_id is empty: give a text that is unique to this command")
        for name in STORED_TEXTS:
            text = getattr(command, name, "")
            if len(text) > MAX_TEXT:
                raise CallRefused(f"{name} is longer than {MAX_TEXT} characters; shorten it")
            if not text.isprintable():  # a line break could forge a line of the audit
                raise CallRefused(f"{name} holds a line break or another control character; leave it out")
        if not isinstance(command, AuditNote) and (refusal := self._authorize(command.who, command.token)):
            raise CallRefused(refusal)

    def _check_version(self, command: FleetCommand, current: int) -> None:
        """Compare and swap: raise `CallRefused` unless the scope, which is on `current`, is on `if_version`."""
        if not command.if_version:
            return
        info = self._registry.version(current)
        # A push replaces candidates of the gate, so those that came since do not count.
        while isinstance(command, Push) and info.origin in LEARNED and info.version > command.if_version:
            info = self._registry.version(info.replaces)
        if info.version != command.if_version:
            when = local_time(info.published_ns)
            raise CallRefused(
                f"not done: {command.scope} is on v{info.version} now ({info.origin} by {info.who} at {when}), "
                f"not on v{command.if_version}; give the command again if it is still wanted"
            )

    # Each command: what was done, in words, and the version that came of it. Its scope is on version `current`.

    def _push(self, command: Push, current: int) -> tuple[str, int]:
        if bool(command.bundle) == bool(command.version):
            raise CallRefused("give a bundle or a version to push, and not both")
        self._refuse_if_pinned(command)
        if command.bundle:
            bundle = Bundle.from_bytes(command.bundle, "the pushed bundle")
        else:
            bundle = self._registry.bundle(command.version)
        # Older bytes as well: the fleet's contract and limits may have changed since they were published.
        notes = verify(bundle, self._task, self._ids, where=FLEET_MANAGER).notes
        version = self._publish(command, bundle, Origin.PUSH, _joined(command.why, *notes))
        again = f", the bytes of v{command.version}" if command.version else ""
        alone = "" if command.scope == FLEET else f" to {command.scope} alone"
        noted = f" ({'; '.join(notes)})" if notes else ""
        return f"pushed v{version}{again}{alone}{noted}{self._corrections(version, current)}", version

    def _publish(self, command: Push | Pin, bundle: Bundle, origin: Origin, detail: str) -> int:
        """Publish for the fleet, or for one robot, which then is pinned to it. A pin of the fleet stays a pin."""
        publication = Publication(
            bundle=bundle,
            origin=origin,
            who=command.who,
            detail=detail,
            restores=command.version,
            scope=command.scope,
            pins=origin is Origin.PIN,
        )
        return self.controller.publish(publication, self._now_ns).version

    def _roll_back(self, command: Rollback, current: int) -> tuple[str, int]:
        if command.scope != FLEET:
            raise CallRefused(f"a rollback is for the whole fleet; pin {command.scope} to the older version instead")
        self._refuse_if_pinned(command)
        version = command.version or self.controller.rollback_target()
        detail = _joined(f"operator: to v{version}", command.why)
        info = self.controller.restore(version, Origin.ROLLBACK, command.who, detail, self._now_ns)
        return rolled_back(info) + self._corrections(info.version, current), info.version

    def _pin(self, command: Pin, current: int) -> tuple[str, int]:
        what = f"pinned {command.scope} to v{command.version}"
        if self._registry.version(command.version).sha256 == self.controller.weights_of(current):
            self._direct(command, f"pinned {command.scope}", hold=0, pin=current)
            version = current
        else:
            bundle = self._registry.bundle(command.version)
            version = self._publish(command, bundle, Origin.PIN, _joined(what, command.why))
        published = f", as v{version}" if version != command.version else ""
        return f"{what}{published}{self._corrections(version, current)}", version

    def _hold(self, command: Hold, current: int) -> tuple[str, int]:
        was = self._registry.directive(command.scope)
        # What a canary robot tries goes on: a rollback of it reaches the held robot like any other.
        changes = {"hold": current} if was.canary else {"hold": current, "pin": 0}
        ended = f"; it is no longer pinned to v{was.pin}" if was.pin and not was.canary else ""
        return self._direct(command, f"held {command.scope}", **changes) + f" on v{current}{ended}", current

    def _resume(self, command: Resume, current: int) -> tuple[str, int]:
        production = self.controller.production
        what = self._direct(command, f"resumed {command.scope}", hold=0, pin=0)
        if current > production:
            # The robot is on a later number than the fleet. Versions only grow: publish the fleet's bytes once more.
            info = self.controller.restore(production, Origin.PIN, command.who, what, self._now_ns)
            what += f", v{production} published as v{info.version}"
        if command.scope == FLEET:
            robots = [each for each in self._registry.directives() if each.scope != FLEET]
            for word, names in (
                ("held", [each.scope for each in robots if each.hold]),
                ("pinned", [each.scope for each in robots if each.pin and not each.canary]),
            ):
                what += f"; {', '.join(names)} {word} still" if names else ""
        self.controller.tick(self._now_ns)  # a candidate that waited may follow at once
        return what, self.controller.production

    def _drain(self, command: Drain, current: int) -> tuple[str, int]:
        if not command.drain and command.scope != FLEET and self._registry.directive(FLEET).drained:
            raise CallRefused(f"the whole fleet is drained, {command.scope} with it; let the fleet work again")
        what = f"drained {command.scope}" if command.drain else f"let {command.scope} work again"
        return self._direct(command, what, drained=command.drain), 0

    def _direct(self, command: FleetCommand, what: str, **changes: bool | int) -> str:
        """Change what is ordered for a scope; returns what was done, as the audit has it."""
        directive: Directive = msgspec.structs.replace(self._registry.directive(command.scope), **changes)
        if "pin" in changes:  # whatever a canary robot tried, now an operator decides
            directive = msgspec.structs.replace(directive, canary=False)
        self._registry.set_directive(directive, command.who, what, self._now_ns, command.why)
        return what

    def _corrections(self, version: int, before: int) -> str:
        """What a version corrects, for the answer; empty if neither it nor the one before corrects anything."""
        new, old = (self._registry.version(each).calibration if each else {} for each in (version, before))
        if new:
            return f"; it corrects perceived positions of {calibration_text(new)}"
        return f"; it has no corrections of perceived positions, v{before} had some" if old else ""

    def _version_of(self, scope: str, robots: Collection[str]) -> int:
        """The version that a scope is meant to be on; raises `UnknownName`."""
        if scope == FLEET:
            return self.controller.production
        if scope not in robots:
            raise UnknownName("robot", scope, [*robots, FLEET])
        return self._registry.target(scope)

    def _refuse_if_pinned(self, command: Push | Rollback) -> None:
        pin = self._registry.directive(FLEET).pin
        if pin and command.scope == FLEET:
            raise CallRefused(f"the fleet is pinned to v{pin}; resume it first")


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))
