"""Options and output that operators' commands share: who gives them, to which fleet, and what came of it."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from floop_robot.cli.text_file import read_text
from floop_robot.cli.which_fleet import check_running, fleet_config, fleet_options
from floop_robot.deploy import AuditNote, CommandResult, FleetClient, FleetCommand
from floop_robot.deploy.convergence import Convergence
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.estop import join_texts
from floop_robot.spec.local_time import local_time

TOKEN = "FLOOP_TOKEN"
"""Environment variable with the operator's token: what stands on a command line, others can read."""


class Operator(msgspec.Struct, frozen=True, dict=True):
    """Who gives a command, why, and to which fleet."""

    config: Path | None
    signature: dict[str, Any]
    """Fields of every command: `who`, `token` and `why`."""
    as_json: bool

    @functools.cached_property
    def fleet_config(self) -> FloopConfig:
        """The fleet's configuration, also of one that has stopped; raises `ConfigError`."""
        return fleet_config(self.config)

    @property
    def fleet(self) -> FloopConfig:
        """The running fleet's configuration; raises `ConfigError` as `running_fleet`."""
        return check_running(self.fleet_config, is_given=self.config is not None)

    def connect(self, timeout_s: float = 5.0) -> FleetClient:
        """A client of the fleet manager."""
        return FleetClient(self.fleet.endpoints.fleet_rpc, timeout_s)

    def note(self, what: str) -> None:
        """Have the fleet manager, if one runs, write into the audit what was done elsewhere."""
        with contextlib.suppress(FloopError), self.connect(1.0) as client:
            note = AuditNote(**self.signature, what=what)
            texts = {name: join_texts("", getattr(note, name)) for name in ("who", "what", "why")}
            client.send_command(msgspec.structs.replace(note, **texts))

    def carry_out(self, kind: type[FleetCommand], wait_s: float = 0.0, **fields: Any) -> None:
        """Give a command, wait until robots have obeyed, and show what came of it."""
        command: Any = kind(**self.signature, **fields)
        with self.connect() as client:
            done = client.send_command(command)
            found = Convergence(command, done)
            try:
                client.wait_for(found, wait_s)
            except FloopError as error:
                # The command succeeded: an error here would make people repeat it.
                click.echo(f"floop: it was done, but what the robots do now is not known: {error}", err=True)
        robots = {robot.robot: robot.acting for robot in found.robots}
        if self.as_json:
            record = {"done": done, "robots": robots, "there": found.reached, "behind": found.pending}
            kept = {"silent": found.silent, "pinned": found.pinned, "held": found.held}
            click.echo(msgspec.json.encode(record | kept).decode())
            return
        is_named = not done.version or re.search(rf"\bv{done.version}\b", done.what)
        click.echo(done_line(done) + ("" if is_named else f" (v{done.version})"))
        if how_far := found.text():
            click.echo(how_far)
        if robots:
            acting = (f"{name} {f'v{version}' if version else 'none yet'}" for name, version in robots.items())
            click.echo("now acting: " + ", ".join(acting))


def done_line(done: CommandResult) -> str:
    """When and by whom what was done."""
    return f"{local_time(done.stamp_ns)}  {done.who}: {done.what}"


def user_at_host() -> str:
    """Who runs this command, where no name is given."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def command_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of every command that changes something; the command gets them as `operator`."""

    @fleet_options
    @click.option("--token-file", type=click.Path(path_type=Path), default=None,
                  help=f"File with your operator token, where the fleet asks for one; or set {TOKEN}.")  # fmt: skip
    @click.option("--who", default="", help="Your name, for the audit log and the token; left out: user@host.")
    @click.option("--why", default="", help="Reason, for the audit log.")
    @functools.wraps(command)
    def signed(config: Path | None, as_json: bool, who: str, token_file: Path | None, why: str, **given: Any) -> Any:
        token = os.environ.get(TOKEN, "")
        if token_file is not None:
            token = read_text(token_file, "give the file of your own token").strip()
        signature = {"who": who or user_at_host(), "token": token, "why": why}
        return command(operator=Operator(config, signature, as_json), **given)

    return signed


def number_of(text: str) -> int:
    """`v12` or `12` as a number; 0 for anything else."""
    found = re.fullmatch("v?([0-9]{1,9})", text)
    return int(found[1]) if found else 0


def version_number(_: click.Context, __: click.Parameter, value: str | None) -> int:
    """The number of a version that an option or argument names; 0 where it is left out (an empty text is given)."""
    if value is not None and not number_of(value):
        raise click.BadParameter(f"{value!r} is no policy version; give a number from 1 on, as in v12")
    return number_of(value or "")


wait_option = click.option("--wait", "wait_s", default=5.0, show_default=True, type=click.FloatRange(0.0),
                           help="How long to wait until robots have obeyed, s.")  # fmt: skip
if_version_option = click.option("--if-version", default=None, callback=version_number, metavar="VERSION",
                                 help="Do nothing unless this is the version that the robots shall be on.")  # fmt: skip
