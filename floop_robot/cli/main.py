"""`floop`: each command is a module that is imported only when it is called (torch alone takes two seconds)."""

from __future__ import annotations

import errno
import importlib
import sys

import click

from floop_robot.cli.loading import loading
from floop_robot.cli.usage_line import usage_line
from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.extras import install_hint

COMMANDS = {
    "audit": "Show who did what to a fleet, and when.",
    "backup": "Copy the central files of a fleet, also while it runs.",
    "bench": "Run benchmarks; each prints its figures and how it measured them.",
    "check": "Check a file before it is used: a robot, a driver, a fleet's config, a policy bundle or an env.",
    "demo": "Run the whole loop: a simulated fleet whose world shifts learns until it succeeds again.",
    "doctor": "Check this installation and say how to repair it.",
    "drain": "Stop a robot after its current episode, or start it again.",
    "health": "Check whether the processes of a fleet work; for scripts and container health checks.",
    "hold": "Let no update reach a robot, or the fleet; rollbacks still do.",
    "import": "Make a policy bundle of a stable-baselines3 zip.",
    "learner": "Show, pause or resume a fleet's learner, or have it write a checkpoint.",
    "logs": "Show the logs of a fleet's processes.",
    "pin": "Put a robot, or the fleet, on one version: no update and no rollback reaches it.",
    "play": "Record one episode as GIF, MP4 or PNG.",
    "policies": "List a fleet's policy versions, with verdict, reason and live success.",
    "push": "Give a policy to a running fleet, or to one robot.",
    "reports": "Show what the gate's verdicts rest on.",
    "reset": "Reset robots' e-stops: shows what stopped them, and asks.",
    "restore": "Put a backup of a fleet into an empty run directory.",
    "resume": "End hold and pin of a robot, or of the fleet.",
    "rollback": "Return a running fleet to the policy of an earlier version.",
    "status": "Show the state of a running fleet, once or live.",
    "stop": "Stop robots at once, until they are reset.",
    "train": "Train a policy in simulation, in one process.",
    "up": "Start a fleet from its configuration and keep it running.",
    "validate": "Measure a policy in PyBullet, alone or against another.",
}
OPERATOR_COMMANDS = ("drain", "hold", "pin", "push", "resume", "rollback")
"""They share a module."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors for a file that cannot grow. They do not name the file."""


class LazyGroup(click.Group):
    """Imports `floop_robot.cli.NAME` when NAME is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command called `cmd_name`; raises `UnknownName`."""
        if cmd_name not in COMMANDS:
            raise UnknownName("command", cmd_name, COMMANDS, "floop")
        name = "import_zip" if cmd_name == "import" else cmd_name  # Python has `import` itself
        module_name = "operator_commands" if name in OPERATOR_COMMANDS else name
        with loading(cmd_name):
            module = importlib.import_module(f"floop_robot.cli.{module_name}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="floop_robot")
def cli() -> None:
    """Learn, validate and deploy policies for fleets of robot arms."""


def main() -> None:
    """Run a command; an error that the user can correct is one line on stderr and exit status 2."""
    try:
        status = cli.main(prog_name="floop", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except FloopError as error:
        click.echo(f"floop: {error}", err=True)
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "floop"
        click.echo(f"floop: {usage_line(error)} See `{command} --help`.", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"floop: {place}{error.strerror}; check path, permissions and free space", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort) as stopped:
        click.echo(str(stopped) or "stopped", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        hint = install_hint(error.name or "")
        if hint is None:
            raise
        click.echo(f"floop: {error.name} is not installed; {hint}", err=True)
        sys.exit(2)
