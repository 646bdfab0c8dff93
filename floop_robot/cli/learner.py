"""`floop learner`: show what a running fleet's learner does; pause it, let it go on, have it write a checkpoint."""

from __future__ import annotations

import click
import msgspec

from floop_robot.cli.operator_options import Operator, command_options, done_line
from floop_robot.learn.status import LearnerStatus
from floop_robot.services.learner_client import LearnerClient, Pause, WriteCheckpoint, send_audited
from floop_robot.spec.local_time import local_time

AUDIT_S = 1.0


@click.command()
@click.argument("verb", type=click.Choice(["status", "pause", "resume", "checkpoint"]), default="status")
@command_options
def learner(verb: str, operator: Operator) -> None:
    """Show what the learner does, or have it pause, go on (resume) or write a checkpoint.

    A paused learner stays paused over restarts. What robots report meanwhile waits in the journal.
    """
    with LearnerClient(operator.fleet.endpoints.learner) as client:
        if verb == "status":
            status = client.status()
            click.echo(msgspec.json.encode(status).decode() if operator.as_json else _text(status))
            return
        with operator.connect(AUDIT_S) as fleet:
            signed = operator.signature
            command = WriteCheckpoint(**signed) if verb == "checkpoint" else Pause(**signed, pause=verb == "pause")
            found, record = send_audited(client, fleet, command)
    if operator.as_json:
        answer = {"done": found.done, "audited": record is not None, "learner": found.status}
        click.echo(msgspec.json.encode(answer).decode())
        return
    click.echo(done_line(found.done) + ("" if record else " (no fleet manager audited it)"))
    click.echo(_text(found.status))


def _text(status: LearnerStatus) -> str:
    rows = f"{status.robot_rows} rows of robots, {status.explorer_rows} of explorers"
    lines = [
        f"{status.algo} on {status.task}: {status.state}{f', {status.detail}' if status.detail else ''}",
        f"{status.gradient_steps} gradient steps, {status.steps_per_s:.0f} a second, {status.owed} owed; {rows}",
        f"{status.candidates} candidates, {status.weights_version} live weights",
    ]
    if status.checkpoint_path:
        lines.append(f"checkpoint of {local_time(status.checkpoint_ns)}: {status.checkpoint_path}")
    return "\n".join(lines)
