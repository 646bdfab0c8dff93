"""`floop train`: a policy from simulation, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

TRAINING_ONLY = ("env", "demonstrations", "device", "total_timesteps", "until_success", "recipe", "tensorboard")
LOOP_ONLY = ("shift", "seconds")


@click.command()
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task to learn.")
@click.option("--env", default="", help="Any Gymnasium id with continuous actions, instead of a task.")
@click.option("--algo", default="sac", show_default=True, type=click.Choice(["sac", "ppo"]), help="Algorithm.")
@click.option("--demonstrations", default=0, show_default=True, type=click.IntRange(0), help="Scripted episodes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 9999), help="Seed of everything.")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["auto", "cpu", "cuda"]),
              help="Where gradient steps are computed.")  # fmt: skip
@click.option(
    "--steps",
    "--total-timesteps",
    "total_timesteps",
    default=None,
    type=click.IntRange(0),
    help="Environment steps after which training ends, if it does not end earlier at --until-success.",
)
@click.option("--until-success", default=None, type=click.FloatRange(0, 1), help="Stop at this selection success.")
@click.option("--recipe", type=click.Path(path_type=Path), default=None, help="YAML file; other options override it.")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard curves to OUT/tensorboard.")
@click.option("--loop", is_flag=True, help="Run the whole loop of a fleet from the shipped policy, in virtual time.")
@click.option("--shift", default="new-object", show_default=True, help="With --loop: how the world changes.")
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1), help="With --loop: virtual seconds.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/train"),
              show_default=True, help="Folder; with --loop, runs/loop unless given.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.pass_context
def train(ctx: click.Context, /, loop: bool, shift: str, seconds: int, as_json: bool, **options: Any) -> int:
    """Train a policy and leave model.zip, a bundle, the effective config and a learner checkpoint in OUT.

    With --loop, a simulated fleet learns its way back after the world shifted; the policy in production at the end is
    left in OUT. Ctrl-C leaves the policy in OUT as it was; the last line says so.
    """
    for name in TRAINING_ONLY if loop else LOOP_ONLY:
        if _is_given(ctx, name):
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} can't be used {'with' if loop else 'without'} --loop; leave it out")
    if loop:
        from floop_robot.cli.train_loop import run_fleet_loop

        result: msgspec.Struct = run_fleet_loop(
            options["task"],
            options["algo"],
            options["seed"],
            shift,
            seconds,
            options["out"] if _is_given(ctx, "out") else Path("runs/loop"),
        )
    else:
        result = _train(ctx, **options)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        for name, value in msgspec.to_builtins(result).items():
            shown = f"{value:.4g}" if isinstance(value, float) else value
            click.echo(f"{name:>28}  {shown}")
    return 0


def _train(ctx: click.Context, recipe: Path | None, **options: Any) -> msgspec.Struct:
    from floop_robot.cli.progress import training_progress
    from floop_robot.spec.yaml_file import read_yaml
    from floop_robot.train.train import train as run
    from floop_robot.train.train_config import TrainConfig
    from floop_robot.train.train_output import TrainingInterrupted

    base = read_yaml(recipe, TrainConfig) if recipe else TrainConfig()
    given = {name: value for name, value in options.items() if _is_given(ctx, name) or recipe is None}
    given = {name: str(value) if name == "out" else value for name, value in given.items() if value is not None}
    try:
        with training_progress() as on_progress:
            return run(msgspec.structs.replace(base, **given), on_progress)
    except TrainingInterrupted as stopped:
        raise click.exceptions.Abort(str(stopped)) from None


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
