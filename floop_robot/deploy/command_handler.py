"""Clerk: carries out operators' orders, each once, and only for whoever may give them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

import msgspec

from floop_robot.bundle import Bundle, verify
from floop_robot.deploy.registry import FLEET, Directive, Origin, Publication, Registry, VersionInfo
from floop_robot.deploy.deployment_controller import MANAGER, Conductor, rolled_back
from floop_robot.deploy.command_order import LatestOrders
from floop_robot.deploy.commands import Call, Done, Drain, Hold, Pin, Push, Remark, Resume, Rollback
from floop_robot.spec.config import RolloutConfig
from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.ids import Ids
from floop_robot.spec.task import TaskSpec

HERE = "the fleet manager"
LONGEST_TEXT = 1000
"""Characters of a name or reason: the audit keeps them for ever."""
KEPT_REMARKS = 1000
"""Remarks that are known when they are repeated, which happens within seconds."""


class FleetPinned(FloopError):
    """The fleet stays where it was pinned."""


class OrderRefused(FloopError):
    """An order that says too little or too much."""


class Operators(Protocol):
    """Who may give orders (`robot.operators`)."""

    def refusal(self, who: str, token: str) -> str:
        """Why `who` may not give orders with this token, in one line; empty when they may."""
        ...


class Clerk:
    """Orders for one fleet. `operators` None: anyone may give them."""

    def __init__(self, registry: Registry, config: RolloutConfig, task: TaskSpec, ids: Ids,
                 operators: Operators | None, since_ns: int) -> None:  # fmt: skip
        self._registry, self._config, self._task, self._ids = registry, config, task, ids
        self._operators, self._since_ns = operators, since_ns
        self._latest = LatestOrders(registry)
        # What was ordered before is not known any more.
        self._latest.note(FLEET, MANAGER, "started", since_ns, self._latest.end())
        self.conductor = Conductor(registry, config, self._latest, since_ns)
        self._robots: frozenset[str] = frozenset()
        self._remarks: OrderedDict[tuple[str, str], Done] = OrderedDict()

    def serve(self, call: Call, robots: Iterable[str], now_ns: int) -> Done:
        """Carry out an order for these robots; a repeated one gets the answer that it got. Raises `FloopError`."""
        self._robots = frozenset(robots)
        self._check(call)
        if isinstance(call, Remark):
            return self._take_down(call, now_ns)
        if (known := self._registry.answered_call(call.call_id)) is not None:
            done = msgspec.msgpack.decode(known, type=Done)
            if done.who != call.who:
                raise OrderRefused(f"call_id {call.call_id} is that of an order {done.who} gave; give another")
            return done
        scope, taken_at = _scope_of(call), call.taken_at if isinstance(call, Push) else -1
        self._latest.refuse_overtaken(scope, taken_at)
        try:
            with self._latest.together(), self._registry.together():
                what, version = self._carry_out(call, now_ns)
                done = Done(
                    who=call.who, what=what, stamp_ns=now_ns, version=version, epoch=self._registry.epoch, why=call.why
                )
                self._registry.remember_call(call.call_id, msgspec.msgpack.encode(done), now_ns)
                place = self._latest.end() if taken_at < 0 else taken_at
        except BaseException:
            # Nothing of it is on disk: forget what memory and the outbox may hold of it.
            self.conductor = Conductor(self._registry, self._config, self._latest, self._since_ns)
            raise
        self._latest.note(scope, done.who, done.what, now_ns, place)
        return done

    def _take_down(self, call: Remark, now_ns: int) -> Done:
        """Remarks need no token, so none of them is kept among the answers to orders."""
        key = call.who, call.call_id
        if (known := self._remarks.get(key)) is not None:
            return known
        if max(len(call.what), len(call.detail)) > LONGEST_TEXT:
            raise OrderRefused(f"a remark is longer than {LONGEST_TEXT} characters; shorten it")
        self._registry.note(call.who, call.what, now_ns, detail=_joined(call.detail, call.why))
        done = Done(who=call.who, what=call.what, stamp_ns=now_ns, version=0, epoch=self._registry.epoch, why=call.why)
        self._remarks[key] = done
        if len(self._remarks) > KEPT_REMARKS:
            self._remarks.popitem(last=False)
        return done

    def _check(self, call: Call) -> None:
        if not call.who.strip():
            raise OrderRefused("who is empty: say who gives this order, it is kept in the audit")
        if not call.call_id:
            raise OrderRefused("call_id is empty: give a text that is unique to this order")
        if max(map(len, (call.who, call.why, call.call_id))) > LONGEST_TEXT:
            raise OrderRefused(f"who, why or call_id is longer than {LONGEST_TEXT} characters; shorten it")
        if self._operators is not None and not isinstance(call, Remark):
            refusal = self._operators.refusal(call.who, call.token)
            if refusal:
                raise OrderRefused(refusal)

    def _carry_out(self, call: Call, now_ns: int) -> tuple[str, int]:
        """Returns what was done, in words, and the version it speaks of."""
        if isinstance(call, Push):
            return self._push(call, now_ns)
        if isinstance(call, Rollback):
            return self._roll_back(call, now_ns)
        if isinstance(call, Pin):
            return self._pin(call, now_ns)
        if isinstance(call, Hold):
            return self._hold(call, now_ns)
        if isinstance(call, Resume):
            return self._resume(call, now_ns)
        if isinstance(call, Drain):
            return self._drain(call, now_ns)
        raise OrderRefused(f"{type(call).__name__} is no order this fleet manager knows; update it")

    def _push(self, call: Push, now_ns: int) -> tuple[str, int]:
        self._version_of(call.scope)
        if bool(call.bundle) == bool(call.version):
            raise OrderRefused("give a bundle or a version to push, and not both")
        if call.scope == FLEET:
            self._refuse_if_pinned()
        bundle = Bundle.from_bytes(call.bundle, "the pushed bundle") if call.bundle else self._bundle(call.version)
        notes = verify(bundle, self._task, self._ids, where=HERE).notes
        info = self._publish(call.scope, bundle, Origin.PUSH, call.version, call.who, _joined(call.why, *notes), now_ns)
        again = f", the bytes of v{call.version}" if call.version else ""
        alone = "" if call.scope == FLEET else f" to {call.scope} alone"
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
        return self.conductor.publish(publication, now_ns, () if whole_fleet else (scope,))

    def _roll_back(self, call: Rollback, now_ns: int) -> tuple[str, int]:
        self._refuse_if_pinned()
        version = call.version or self.conductor.before_production()
        detail = _joined(f"operator: to v{version}", call.why)
        info = self.conductor.go_back(version, Origin.ROLLBACK, call.who, detail, now_ns)
        return rolled_back(info), info.version

    def _pin(self, call: Pin, now_ns: int) -> tuple[str, int]:
        current = self._version_of(call.scope)
        weights = self._registry.version(call.version).sha256
        if weights == self.conductor.weights_of(current):
            version = current
            self._direct(call, f"pinned {call.scope}", now_ns, held=True, pin=current)
        else:
            bundle = self._bundle(call.version)
            detail = _joined(f"pinned {call.scope} to v{call.version}", call.why)
            info = self._publish(call.scope, bundle, Origin.PIN, call.version, call.who, detail, now_ns)
            version = info.version
        as_version = f", as v{version}" if version != call.version else ""
        return f"pinned {call.scope} to v{call.version}{as_version}", version

    def _hold(self, call: Hold, now_ns: int) -> tuple[str, int]:
        version = self._version_of(call.scope)
        pin = self._registry.directive(call.scope).pin if call.scope == FLEET else version
        self._direct(call, f"held {call.scope}", now_ns, held=True, pin=pin)
        return f"held {call.scope} on v{version}", version

    def _resume(self, call: Resume, now_ns: int) -> tuple[str, int]:
        version, production = self._version_of(call.scope), self.conductor.production
        self._direct(call, f"resumed {call.scope}", now_ns, held=False, pin=0)
        what = f"resumed {call.scope}"
        if version > production:
            # The robot is on a later number than the fleet, and versions only grow: give the fleet's a later one still.
            info = self.conductor.go_back(production, Origin.PIN, call.who, what, now_ns)
            what += f", v{production} published as v{info.version}"
        alone = sorted(d.scope for d in self._registry.directives() if d.held and d.scope != FLEET)
        if call.scope == FLEET and alone:
            what += f"; {', '.join(alone)} held or pinned still"
        self.conductor.tick(now_ns)  # a candidate that waited may follow at once
        return what, self.conductor.production

    def _drain(self, call: Drain, now_ns: int) -> tuple[str, int]:
        self._version_of(call.scope)
        if not call.drain and call.scope != FLEET and self._registry.directive(FLEET).drained:
            raise OrderRefused(f"the whole fleet is drained, {call.scope} with it; let the fleet work again")
        what = f"drained {call.scope}" if call.drain else f"let {call.scope} work again"
        self._direct(call, what, now_ns, drained=call.drain)
        return what, 0

    def _direct(self, call: Hold | Resume | Pin | Drain, what: str, now_ns: int, **changes: bool | int) -> None:
        directive: Directive = msgspec.structs.replace(self._registry.directive(call.scope), **changes)
        self._registry.direct(directive, call.who, what, now_ns, call.why)

    def _bundle(self, version: int) -> Bundle:
        """The bytes of a version; raises `UnknownName` or `BundleRefused`."""
        return self._registry.bundle(version)

    def _version_of(self, scope: str) -> int:
        """The version a scope is on by order; raises `UnknownName`."""
        if scope == FLEET:
            return self.conductor.production
        if scope not in self._robots:
            raise UnknownName("robot", scope, [*self._robots, FLEET])
        return self._registry.target(scope)

    def _refuse_if_pinned(self) -> None:
        pin = self._registry.directive(FLEET).pin
        if pin:
            raise FleetPinned(f"the fleet is pinned to v{pin}; resume it first")


def _scope_of(call: Call) -> str:
    """Which robots an order is for."""
    return call.scope if isinstance(call, Push | Pin | Hold | Resume | Drain) else FLEET


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))
