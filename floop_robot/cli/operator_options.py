"""Options and output that operators' commands share: who gives them, to which fleet, and what came of it."""

from __future__ import annotations

import functools
import getpass
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from floop_robot.cli.which_fleet import fleet_config, fleet_options
from floop_robot.deploy import CommandResult, FleetClient, FleetCommand
from floop_robot.deploy.convergence import Convergence
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import ConfigError, FloopError

TOKEN = "FLOOP_TOKEN"
"""Environment variable with the operator's token: what stands on a command line, others can read."""


class Operator(msgspec.Struct, frozen=True, dict=True):
    """Who gives a command, why, and to which fleet."""

    config: Path | None
    signature: dict[str, str]
    """Fields of every command: `who`, `token` and `why`."""
    as_json: bool
    if_version: int

    @functools.cached_property
    def fleet(self) -> FloopConfig:
        """The fleet's configuration; raises `ConfigError` as `fleet_config`."""
        return fleet_config(self.config)

    def connect(self, timeout_s: float = 5.0) -> FleetClient:
        """A client of the fleet manager."""
        return FleetClient(self.fleet.endpoints.fleet_rpc, timeout_s)

    def carry_out(self, kind: type[FleetCommand], wait_s: float = 0.0, **fields: Any) -> None:
        """Give a command, wait until robots have obeyed, and show what came of it."""
        command: Any = kind(if_version=self.if_version, **self.signature, **fields)
        with self.connect() as client:
            done = client.send_command(command)
            try:
                found = client.wait_for(Convergence(command, done), wait_s)
            except FloopError as error:
                # The command succeeded: an error here would make people repeat it.
                click.echo(f"floop: it was done, but what the robots do now is not known: {error}", err=True)
                found = Convergence(command, done)
        self._show(done, found)

    def _show(self, done: CommandResult, found: Convergence) -> None:
        robots = {robot.robot: robot.version for robot in found.robots}
        if self.as_json:
            record = {"done": done, "robots": robots, "there": found.reached, "behind": found.pending}
            click.echo(msgspec.json.encode(record | {"silent": found.silent}).decode())
            return
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.stamp_ns / 1e9))
        version = f"v{done.version}"
        named = "" if not done.version or re.search(rf"\b{version}\b", done.what) else f" ({version})"
        click.echo(f"{when}  {done.who}: {done.what}{named}")
        if how_far := found.text():
            click.echo(how_far)
        if robots:
            click.echo("now acting: " + ", ".join(f"{name} v{version}" for name, version in robots.items()))


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get(TOKEN, "")
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not text"
        raise ConfigError(f"cannot read {file}: {reason}; give the file of your own token") from None


def _user_at_host() -> str:
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
    def signed(config: Path | None, who: str, token_file: Path | None, why: str, as_json: bool, if_version: int = 0,
               **given: Any) -> Any:  # fmt: skip
        signature = {"who": who or _user_at_host(), "token": _token(token_file), "why": why}
        return command(operator=Operator(config, signature, as_json, if_version), **given)

    return signed


def version_number(_: click.Context, __: click.Parameter, value: str | None) -> int:
    """`v12` or `12` as a number; 0 for nothing."""
    if not value:
        return 0
    found = number_of(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no policy version; give a number, as in v12")
    if found == 0:  # 0 means "not given" in a command
        raise click.BadParameter("there is no v0: the first version is v1")
    return found


def number_of(text: str) -> int | None:
    """`v12` or `12` as a number; None for anything else."""
    digits = text.removeprefix("v")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


wait_option = click.option("--wait", "wait_s", default=5.0, show_default=True, type=click.FloatRange(0.0),
                           help="How long to wait until robots have obeyed, s.")  # fmt: skip
if_version_option = click.option("--if-version", default="", callback=version_number, metavar="VERSION",
                                 help="Do nothing unless this is the version that the robots shall be on.")  # fmt: skip
