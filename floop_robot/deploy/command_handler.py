"""CommandHandler: carries out operators' commands, each once, and only for whoever may give them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.deploy.command_order import CommandOrder
from floop_robot.deploy.commands import AuditNote, Command, CommandResult, Drain, Hold, Pin, Push, Resume, Rollback
from floop_robot.deploy.deployment_controller import MANAGER_NAME, DeploymentController, rolled_back
from floop_robot.deploy.registry import FLEET, Directive, Origin, Publication, Registry, VersionInfo
from floop_robot.durable.framing import pack
from floop_robot.spec.config import DeployConfig
from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec

FLEET_MANAGER = "the fleet manager"
LONGEST_TEXT = 1000
"""Characters of a name or reason: the audit keeps them for ever."""
MAX_STORED_NOTES = 1000
"""Notes that are known when they are repeated, which happens within seconds."""


class FleetPinned(FloopError):
    """The fleet stays where it was pinned."""


class CommandRefused(FloopError):
    """A command that says too little or too much."""


class Operators(Protocol):
    """Who may give commands (`robot.operators`)."""

    def refusal(self, who: str, token: str) -> str:
        """Why `who` may not give commands with this token, in one line; empty when they may."""
        ...


class CommandHandler:
    """Commands for one fleet. `operators` None: anyone may give them."""

    def __init__(self, registry: Registry, config: DeployConfig, task: TaskSpec, ids: Ids,
                 operators: Operators | None, since_ns: int) -> None:  # fmt: skip
        self._registry, self._config, self._task, self._ids = registry, config, task, ids
        self._operators, self._since_ns = operators, since_ns
        self._command_order = CommandOrder(registry)
        # What was commanded before is not known any more.
        self._command_order.note(FLEET, MANAGER_NAME, "started", since_ns, self._command_order.end())
        self.controller = DeploymentController(registry, config, self._command_order, since_ns)
        self._robots: frozenset[str] = frozenset()
        self._notes: OrderedDict[tuple[str, str], CommandResult] = OrderedDict()

    def serve(self, command: Command, robots: Iterable[str], now_ns: int) -> CommandResult:
        """Carry out a command for these robots; a repeated one gets the answer that it got. Raises `FloopError`."""
        self._robots = frozenset(robots)
        self._check(command)
        if isinstance(command, AuditNote):
            return self._write_note(command, now_ns)
        if (known := self._registry.stored_command_result(command.call_id)) is not None:
            done = msgspec.msgpack.decode(known, type=CommandResult)
            if done.who != command.who:
                raise CommandRefused(f"call_id {command.call_id} is that of a command {done.who} gave; give another")
            return done
        scope, accepted_at = _scope_of(command), command.accepted_at if isinstance(command, Push) else -1
        self._command_order.refuse_stale(scope, accepted_at)
        try:
            with self._command_order.transaction(), self._registry.transaction():
                what, version = self._carry_out(command, now_ns)
                done = CommandResult(
                    who=command.who,
                    what=what,
                    stamp_ns=now_ns,
                    version=version,
                    epoch=self._registry.epoch,
                    why=command.why,
                )
                self._registry.store_command_result(command.call_id, pack(done), now_ns)
                place = self._command_order.end() if accepted_at < 0 else accepted_at
        except BaseException:
            # Nothing of it is on disk: forget what memory and the outbox may hold of it.
            self.controller = DeploymentController(self._registry, self._config, self._command_order, self._since_ns)
            raise
        self._command_order.note(scope, done.who, done.what, now_ns, place)
        return done

    def _write_note(self, command: AuditNote, now_ns: int) -> CommandResult:
        """Notes need no token, so none of them is kept among the answers to commands."""
        key = command.who, command.call_id
        if (known := self._notes.get(key)) is not None:
            return known
        if max(len(command.what), len(command.detail)) > LONGEST_TEXT:
            raise CommandRefused(f"an audit note is longer than {LONGEST_TEXT} characters; shorten it")
        self._registry.note(command.who, command.what, now_ns, detail=_joined(command.detail, command.why))
        done = CommandResult(
            who=command.who, what=command.what, stamp_ns=now_ns, version=0, epoch=self._registry.epoch, why=command.why
        )
        self._notes[key] = done
        if len(self._notes) > MAX_STORED_NOTES:
            self._notes.popitem(last=False)
        return done

    def _check(self, command: Command) -> None:
        if not command.who.strip():
            raise CommandRefused("who is empty: say who gives this command, it is kept in the audit")
        if not command.call_id:
            raise CommandRefused("call_id is empty: give a text that is unique to this command")
        if max(map(len, (command.who, command.why, command.call_id))) > LONGEST_TEXT:
            raise CommandRefused(f"who, why or call_id is longer than {LONGEST_TEXT} characters; shorten it")
        if self._operators is not None and not isinstance(command, AuditNote):
            refusal = self._operators.refusal(command.who, command.token)
            if refusal:
                raise CommandRefused(refusal)

    def _carry_out(self, command: Command, now_ns: int) -> tuple[str, int]:
        """Returns what was done, in words, and the version it speaks of."""
        if isinstance(command, Push):
            return self._push(command, now_ns)
        if isinstance(command, Rollback):
            return self._roll_back(command, now_ns)
        if isinstance(command, Pin):
            return self._pin(command, now_ns)
        if isinstance(command, Hold):
            return self._hold(command, now_ns)
        if isinstance(command, Resume):
            return self._resume(command, now_ns)
        if isinstance(command, Drain):
            return self._drain(command, now_ns)
        raise CommandRefused(f"{type(command).__name__} is no command this fleet manager knows; update it")

    def _push(self, command: Push, now_ns: int) -> tuple[str, int]:
        self._version_of(command.scope)
        if bool(command.bundle) == bool(command.version):
            raise CommandRefused("give a bundle or a version to push, and not both")
        if command.scope == FLEET:
            self._refuse_if_pinned()
        bundle = (
            Bundle.from_bytes(command.bundle, "the pushed bundle") if command.bundle else self._bundle(command.version)
        )
        notes = verify(bundle, self._task, self._ids, where=FLEET_MANAGER).notes
        info = self._publish(
            command.scope, bundle, Origin.PUSH, command.version, command.who, _joined(command.why, *notes), now_ns
        )
        again = f", the bytes of v{command.version}" if command.version else ""
        alone = "" if command.scope == FLEET else f" to {command.scope} alone"
        return f"pushed v{info.version}{again}{alone}" + (f" ({'; '.join(notes)})" if notes else ""), info.version

    def _publish(self, scope: str, bundle: Bundle, origin: Origin, restores: int, who: str, detail: str,
                 now_ns: int) -> VersionInfo:  # fmt: skip
        """Publish for the fleet or for one robot, which then is pinned to it; a pin of the fleet stays a pin."""
        whole_fleet = scope == FLEET
        keep = origin is Origin.PIN or not whole_fleet
        publication = Publication(
            bundle=bundle,
            origin=origin,
            who=who,
            detail=detail,
            restores=restores,
            promote=whole_fleet,
            # A pin other than 0 becomes the number it is published under.
            directives=(msgspec.structs.replace(self._registry.directive(scope), held=True, pin=-1),) if keep else (),
        )
        return self.controller.publish(publication, now_ns, () if whole_fleet else (scope,))

    def _roll_back(self, command: Rollback, now_ns: int) -> tuple[str, int]:
        self._refuse_if_pinned()
        version = command.version or self.controller.rollback_target()
        detail = _joined(f"operator: to v{version}", command.why)
        info = self.controller.restore(version, Origin.ROLLBACK, command.who, detail, now_ns)
        return rolled_back(info), info.version

    def _pin(self, command: Pin, now_ns: int) -> tuple[str, int]:
        current = self._version_of(command.scope)
        weights = self._registry.version(command.version).sha256
        if weights == self.controller.weights_of(current):
            version = current
            self._set_directive(command, f"pinned {command.scope}", now_ns, held=True, pin=current)
        else:
            bundle = self._bundle(command.version)
            detail = _joined(f"pinned {command.scope} to v{command.version}", command.why)
            info = self._publish(command.scope, bundle, Origin.PIN, command.version, command.who, detail, now_ns)
            version = info.version
        as_version = f", as v{version}" if version != command.version else ""
        return f"pinned {command.scope} to v{command.version}{as_version}", version

    def _hold(self, command: Hold, now_ns: int) -> tuple[str, int]:
        version = self._version_of(command.scope)
        pin = self._registry.directive(command.scope).pin if command.scope == FLEET else version
        self._set_directive(command, f"held {command.scope}", now_ns, held=True, pin=pin)
        return f"held {command.scope} on v{version}", version

    def _resume(self, command: Resume, now_ns: int) -> tuple[str, int]:
        version, production = self._version_of(command.scope), self.controller.production
        self._set_directive(command, f"resumed {command.scope}", now_ns, held=False, pin=0)
        what = f"resumed {command.scope}"
        if version > production:
            # The robot is on a later number than the fleet, and versions only grow: give the fleet's a later one still.
            info = self.controller.restore(production, Origin.PIN, command.who, what, now_ns)
            what += f", v{production} published as v{info.version}"
        alone = sorted(d.scope for d in self._registry.directives() if d.held and d.scope != FLEET)
        if command.scope == FLEET and alone:
            what += f"; {', '.join(alone)} held or pinned still"
        self.controller.tick(now_ns)  # a candidate that waited may follow at once
        return what, self.controller.production

    def _drain(self, command: Drain, now_ns: int) -> tuple[str, int]:
        self._version_of(command.scope)
        if not command.drain and command.scope != FLEET and self._registry.directive(FLEET).drained:
            raise CommandRefused(f"the whole fleet is drained, {command.scope} with it; let the fleet work again")
        what = f"drained {command.scope}" if command.drain else f"let {command.scope} work again"
        self._set_directive(command, what, now_ns, drained=command.drain)
        return what, 0

    def _set_directive(
        self, command: Hold | Resume | Pin | Drain, what: str, now_ns: int, **changes: bool | int
    ) -> None:
        directive: Directive = msgspec.structs.replace(self._registry.directive(command.scope), **changes)
        self._registry.set_directive(directive, command.who, what, now_ns, command.why)

    def _bundle(self, version: int) -> Bundle:
        """The bytes of a version; raises `UnknownName` or `BundleRefused`."""
        return self._registry.bundle(version)

    def _version_of(self, scope: str) -> int:
        """The version a scope is on by command; raises `UnknownName`."""
        if scope == FLEET:
            return self.controller.production
        if scope not in self._robots:
            raise UnknownName("robot", scope, [*self._robots, FLEET])
        return self._registry.target(scope)

    def _refuse_if_pinned(self) -> None:
        pin = self._registry.directive(FLEET).pin
        if pin:
            raise FleetPinned(f"the fleet is pinned to v{pin}; resume it first")


def _scope_of(command: Command) -> str:
    """Which robots a command is for."""
    return command.scope if isinstance(command, Push | Pin | Hold | Resume | Drain) else FLEET


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))
