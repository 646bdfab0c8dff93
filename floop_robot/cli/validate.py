"""`floop validate`: measures a policy in PyBullet, alone or against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from floop_robot.cli.loading import loading
from floop_robot.cli.zip_options import zip_options

if TYPE_CHECKING:
    from floop_robot.train.validate import PolicyEvaluation


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    default=None,
    help="Compare with this policy on the same scenarios, as the gate does.",
)
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task to do.")
@click.option("--focus", multiple=True, help="Object class that must have improved; may be repeated.")
@click.option("--episodes", default=200, show_default=True, type=click.IntRange(1), help="Number of scenarios.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 9999), help="Seed of the scenarios.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Number of worker processes.")
@zip_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def validate(
    bundle: Path,
    against: Path | None,
    task: str,
    focus: tuple[str, ...],
    episodes: int,
    seed: int,
    workers: int,
    trust: bool,
    vecnormalize: Path | None,
    as_json: bool,
) -> int:
    """Measure the policy BUNDLE in PyBullet.

    With --against, decide as the gate would; exit status 1 when it rejects BUNDLE.
    """
    with loading("validate"):
        from floop_robot.cli.progress import episode_progress
        from floop_robot.spec.verdict import Decision
        from floop_robot.train.validate import ValidationPlan, load_policy
        from floop_robot.train.validate import validate as run

    plan = ValidationPlan(task=task, episodes=episodes, seed=seed, workers=workers, target_classes=focus)
    candidate = load_policy(bundle, task, trust=trust, vecnormalize=vecnormalize)
    other = load_policy(against, task, trust=trust) if against else None
    with episode_progress(f"validating {bundle.name}") as on_progress:
        result = run(candidate, other, plan, on_progress)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        for name, found in ((bundle, result.candidate), (against, result.against)):
            if found is not None:
                click.echo(f"{name}: {_in_words(found)}")
        if result.verdict is not None:
            click.echo(f"as the gate judges: {result.verdict.decision}, {result.verdict.reason}")
            click.echo(f"(figures of {bundle} against those of {against}, on scenarios of the gate's own)")
    return 1 if result.verdict is not None and result.verdict.decision is Decision.REJECTED else 0


def _in_words(found: PolicyEvaluation) -> str:
    low, high = found.interval
    took = "" if found.mean_cycle_s is None else f"; a success took {found.mean_cycle_s:.2f} s"
    return (
        f"{found.successes} of {found.episodes} scenarios succeeded, {found.success:.1%} "
        f"(95 % interval: {low:.1%} to {high:.1%}){took}"
    )
