"""`floop train`: a policy from simulation, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec


@click.command()
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task to learn.")
@click.option("--env", default="", help="Any Gymnasium id with continuous actions, instead of a task.")
@click.option("--algo", default="sac", show_default=True, type=click.Choice(["sac", "ppo"]), help="Algorithm.")
@click.option("--demonstrations", default=0, show_default=True, type=click.IntRange(0), help="Scripted episodes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 9999), help="Seed of everything.")
@click.option("--until-success", default=None, type=click.FloatRange(0, 1), help="Stop at this selection success.")
@click.option("--recipe", type=click.Path(path_type=Path), default=None, help="YAML file; other options override it.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard curves to OUT/tensorboard.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/train"), show_default=True, help="Folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.pass_context
def train(ctx: click.Context, /, recipe: Path | None, as_json: bool, **options: Any) -> int:
    """Train a policy and leave model.zip, a bundle, the effective config and a learner checkpoint in OUT."""
    from floop_robot.cli.progress import training_progress
    from floop_robot.spec.yaml_file import read_yaml
    from floop_robot.train.train import TrainConfig
    from floop_robot.train.train import train as run

    base = read_yaml(recipe, TrainConfig) if recipe else TrainConfig()
    given = {name: value for name, value in options.items() if _is_given(ctx, name) or recipe is None}
    given = {name: str(value) if name == "out" else value for name, value in given.items() if value is not None}
    config = msgspec.structs.replace(base, **given)
    with training_progress() as on_progress:
        result = run(config, on_progress)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        for name, value in msgspec.to_builtins(result).items():
            click.echo(f"{name:>28}  {value}")
    return 0


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
