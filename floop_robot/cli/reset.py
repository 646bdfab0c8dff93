"""`floop reset`: shows what stops robots, asks, and resets exactly that, in one step."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Final, Protocol

import click
import msgspec

from floop_robot.cli.operator_options import Operator, command_options
from floop_robot.deploy import FleetClient
from floop_robot.deploy.stop_messages import (
    EstopRef,
    EstopReport,
    GetEstops,
    ResetReport,
    ResetResult,
    ResetRobots,
    RobotEstop,
)
from floop_robot.robot.estop_socket import ReadEstop, ask_robot
from floop_robot.robot.messages import ResetCommand
from floop_robot.spec.errors import CallRefused, FloopError, UnknownName
from floop_robot.spec.estop import EstopState
from floop_robot.spec.local_time import local_time

ANSWER_S: Final = 1.5
"""A fleet manager that runs answers within this time."""
WAIT_S: Final = 3.0
"""How long robots get to answer."""
POLL_S: Final = 0.05


class Estops(Protocol):
    """A way to look at e-stops and to reset them."""

    def look(self) -> dict[str, RobotEstop]:
        """How each robot is that can be reached; raises `FloopError`."""
        ...

    def reset(self, refs: list[EstopRef]) -> tuple[ResetResult, ...]:
        """Reset; what each robot that answered says. Raises `FloopError`."""
        ...


class _ByManager:
    """Through the fleet manager, where it has robots with ROS."""

    def __init__(self, client: FleetClient, operator: Operator) -> None:
        self._client, self._operator = client, operator

    def look(self) -> dict[str, RobotEstop]:
        """As `Estops`."""
        report = self._client.ask(GetEstops(), EstopReport)
        return {robot.robot: robot for robot in report.robots if robot.state is not None or robot.pending is not None}

    def reset(self, refs: list[EstopRef]) -> tuple[ResetResult, ...]:
        """As `Estops`."""
        request, deadline_s = ResetRobots(stops=tuple(refs), **self._operator.signature), time.monotonic() + WAIT_S
        while True:
            found = self._client.ask(request, ResetReport).results
            if len(found) == len(refs) or time.monotonic() >= deadline_s:
                return found
            time.sleep(POLL_S)


class _Here:
    """Through the safety processes of this host."""

    def __init__(self, robots: tuple[str, ...], operator: Operator) -> None:
        self._robots, self._operator, self._run_dir = robots, operator, Path(operator.fleet_config.run_dir)

    def look(self) -> dict[str, RobotEstop]:
        """As `Estops`."""
        found = {}
        for robot in self._robots:
            state = ask_robot(self._run_dir, robot, ReadEstop()).state
            found[robot] = RobotEstop(robot, state, None)
        return found

    def reset(self, refs: list[EstopRef]) -> tuple[ResetResult, ...]:
        """As `Estops`."""
        results = []
        for ref in refs:
            command = ResetCommand(stop_id=ref.stop_id, nonce=ref.nonce, **self._operator.signature)
            answer = ask_robot(self._run_dir, ref.robot, command)
            self._operator.note(f"{'reset' if answer.success else 'did not reset'} {ref.robot}")
            message = f"{ref.robot}: {answer.message}"
            results.append(ResetResult(robot=ref.robot, success=answer.success, message=message))
        return tuple(results)


@click.command()
@command_options
@click.argument("robots", nargs=-1, required=True, metavar="ROBOT...")
@click.option("--yes", is_flag=True, help="Do not ask; needs --stop-id.")
@click.option("--stop-id", "stop_ids", multiple=True,
              help="Reset only stops of this id, as `--json` or `estop_state` showed it. May be repeated.")  # fmt: skip
def reset(operator: Operator, robots: tuple[str, ...], yes: bool, stop_ids: tuple[str, ...]) -> int:
    """Show what stops each ROBOT, ask, and reset that. A stop that comes meanwhile stays.

    A real arm stands after the reset until somebody starts an episode. Exit status 1 unless every robot was reset.
    """
    if yes and not stop_ids:
        raise CallRefused("--yes needs --stop-id: name the stop that somebody has seen")
    fleet = operator.fleet_config
    for name in robots:
        if name not in fleet.robot_names:
            raise UnknownName("robot", name, fleet.robot_names)
    robots = tuple(dict.fromkeys(robots))
    with contextlib.ExitStack() as opened:
        way, seen = _find(opened, robots, operator)
        shown = {name: _stopped(seen, name, stop_ids) for name in robots}
        for name, state in shown.items():
            click.echo(_line(name, state), err=operator.as_json)
        if not yes:
            _ask("Reset?" if len(shown) == 1 else "Reset all of these?", err=operator.as_json)
        now = way.look()  # a person may have looked for longer than a nonce holds
        refs = [_ref(name, shown[name], now.get(name)) for name in robots]
        results = {each.robot: each for each in way.reset(refs)}
    found = [results.get(n, ResetResult(robot=n, success=False, message=f"{n} did not answer")) for n in robots]
    if operator.as_json:
        click.echo(msgspec.json.encode(found).decode())
    for each in found if not operator.as_json else ():
        click.echo(each.message)
    return int(not all(each.success for each in found))


def _ask(question: str, *, err: bool) -> None:
    """Raise `CallRefused` unless somebody says yes."""
    try:
        if not click.confirm(question, err=err):
            raise CallRefused("nothing was reset")
    except click.Abort:  # Ctrl-C, or nobody is there
        click.echo(err=err)
        raise CallRefused("nothing was reset: the question had no answer; in a script give --yes --stop-id") from None


def _find(
    opened: contextlib.ExitStack, robots: tuple[str, ...], operator: Operator
) -> tuple[Estops, dict[str, RobotEstop]]:
    """The way by which all robots can be seen, and what is seen; raises `FloopError` when there is none."""
    try:
        manager = _ByManager(opened.enter_context(operator.connect(ANSWER_S)), operator)
        seen = manager.look()
        if seen.keys() >= set(robots):
            return manager, seen
        unheard = f"the fleet manager has not heard {', '.join(n for n in robots if n not in seen)}"
    except FloopError as error:
        unheard = str(error)
    here = _Here(robots, operator)
    try:
        return here, here.look()
    except FloopError as error:
        raise CallRefused(f"{error}; {unheard}") from None


def _stopped(seen: dict[str, RobotEstop], name: str, stop_ids: tuple[str, ...]) -> EstopState:
    """The stop of a robot that may be reset, or the one that is named and was reset already; raises `CallRefused`."""
    state, pending = seen[name].state, seen[name].pending
    if pending is not None:
        raise CallRefused(f"{name} has not obeyed a stop of {pending.who} yet ({pending.why}); wait until it has")
    if state is None or not (state.latched or state.stop_id in stop_ids):
        raise CallRefused(f"{name} is not stopped, so nothing was reset; leave it out")
    if stop_ids and state.stop_id not in stop_ids:
        raise CallRefused(f"{name} has another stop than you name ({_line(name, state)}); nothing was reset")
    return state


def _line(name: str, state: EstopState) -> str:
    since = local_time(state.since_ns) if state.since_ns else "unknown"
    why = f": {state.why}" if state.why else ""
    pressed = "; its stop input still says stop" if state.hardware_stop else ""
    done = "stopped" if state.latched else "was reset"
    return f"{name} {done} by {state.who or 'unknown'}{why}, since {since}, stop_id {state.stop_id}{pressed}"


def _ref(name: str, shown: EstopState, now: RobotEstop | None) -> EstopRef:
    """Names the stop that was shown, with a fresh nonce."""
    state = now.state if now is not None else None
    if state is None or state.stop_id != shown.stop_id:
        raise CallRefused(f"{name} was stopped or started again meanwhile, so nothing was reset; look again")
    return EstopRef(robot=name, stop_id=shown.stop_id, nonce=state.nonce)
