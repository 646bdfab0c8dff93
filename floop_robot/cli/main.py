"""`floop`: one command per verb, each loaded only when called (torch alone takes two seconds to import)."""

from __future__ import annotations

import errno
import importlib
import sys

import click

from floop_robot.cli.extras import install_hint
from floop_robot.spec.errors import FloopError, UnknownName

COMMANDS = {
    "bench": "Measure speed and memory side by side; print ratios.",
    "demo": "Run the whole loop: a simulated fleet whose world shifts, and that learns its way back.",
    "doctor": "Check this installation; each line says what to do.",
    "drain": "Take a robot out of work after its current episode, or back in.",
    "health": "Say whether a fleet's processes are at work; for scripts and container health checks.",
    "hold": "Keep a robot, or the fleet, on the version it has.",
    "learner": "Show what a fleet's learner does; pause it, or have it write a checkpoint.",
    "pin": "Put a robot, or the fleet, on one version and keep it there.",
    "play": "Record one episode as GIF, MP4 or PNG.",
    "policies": "List the policy versions of a running fleet.",
    "push": "Give a policy to a running fleet, or to one robot.",
    "resume": "End hold and pin of a robot, or of the fleet.",
    "rollback": "Return a running fleet to an earlier version's policy.",
    "status": "Show what a running fleet is doing.",
    "train": "Train a policy in simulation, in one process.",
    "up": "Start a fleet from its configuration and keep it running.",
    "validate": "Judge a policy bundle in PyBullet, alone or against another.",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says when a file can't grow; such errors name no file."""


class LazyGroup(click.Group):
    """Imports `floop_robot.cli.NAME` when NAME is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`."""
        if cmd_name not in COMMANDS:
            raise UnknownName("command", cmd_name, COMMANDS, "floop")
        module = importlib.import_module(f"floop_robot.cli.{cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="floop_robot")
def cli() -> None:
    """Learn, validate and deploy policies for fleets of robot arms."""


def main() -> None:
    """Entry point: errors that a user can mend are one line on stderr and exit status 2."""
    try:
        status = cli.main(prog_name="floop", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except FloopError as error:
        click.echo(f"floop: {error}", err=True)
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "floop"
        click.echo(f"floop: {error.format_message().rstrip('.')}. See `{command} --help`.", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"floop: {place}{error.strerror}; check path, permissions and free space", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("stopped", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        cure = install_hint(error.name or "")
        if cure is None:
            raise
        click.echo(f"floop: {error.name} is not installed; {cure}", err=True)
        sys.exit(2)

