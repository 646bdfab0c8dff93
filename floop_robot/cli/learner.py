"""`floop learner`: how the learner of a running fleet is; pause it, let it go on, have it write a checkpoint."""

from __future__ import annotations

import time

import click
import msgspec

from floop_robot.cli.operator_options import Operator, command_options
from floop_robot.deploy import AuditNote, FleetClient
from floop_robot.learn.status import LearnerStatus
from floop_robot.services.learner_client import (
    LearnerClient,
    LearnerCommandResult,
    Pause,
    WriteCheckpoint,
)
from floop_robot.spec.errors import FloopError

AUDIT_S = 1.0
DISK_S = 20.0


@click.command()
@click.argument("verb", type=click.Choice(["status", "pause", "resume", "checkpoint"]), default="status")
@command_options
def learner(verb: str, operator: Operator) -> None:
    """Show what the learner does, or have it pause, go on (resume) or write a checkpoint.

    A paused learner stays so over restarts; what robots report meanwhile waits in the journal.
    """
    with LearnerClient(operator.fleet.endpoints.learner) as client:
        if verb == "status":
            status = client.status()
            click.echo(msgspec.json.encode(status).decode() if operator.as_json else _text(status))
            return
        with operator.connect(AUDIT_S) as fleet:
            signed = {"who": fleet.who, "token": fleet.token, "why": operator.why}
            client.status()  # a learner that is away shows sooner than a command would
            command = WriteCheckpoint(**signed) if verb == "checkpoint" else Pause(pause=verb == "pause", **signed)
            found = client.send_command(command, DISK_S)
            audited = _audit(fleet, command.call_id, found)
    if operator.as_json:
        click.echo(msgspec.json.encode({"done": found.done, "audited": audited, "learner": found.status}).decode())
        return
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.done.stamp_ns / 1e9))
    click.echo(f"{when}  {found.done.who}: {found.done.what}" + ("" if audited else " (no fleet manager audited it)"))
    click.echo(_text(found.status))


def _audit(fleet: FleetClient, call_id: str, found: LearnerCommandResult) -> bool:
    done = found.done
    try:
        fleet.send_command(AuditNote(call_id=f"learner {call_id}", who=done.who, what=done.what, why=done.why))
    except FloopError:
        return False
    return True


def _text(status: LearnerStatus) -> str:
    rows = f"{status.robot_rows} rows of robots, {status.explorer_rows} of explorers"
    lines = [
        f"{status.algo} on {status.task}: {status.state}{f', {status.detail}' if status.detail else ''}",
        f"{status.gradient_steps} gradient steps, {status.steps_per_s:.0f} a second, {status.owed} owed; {rows}",
        f"{status.candidates} candidates, {status.weights_version} live weights",
    ]
    if status.checkpoint_path:
        when = time.strftime("%H:%M:%S", time.localtime(status.checkpoint_ns / 1e9))
        lines.append(f"checkpoint of {when}: {status.checkpoint_path}")
    return "\n".join(lines)
