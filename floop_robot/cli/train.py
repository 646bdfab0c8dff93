"""`floop train`: a policy from simulation, in one process."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click
import msgspec

from floop_robot.cli.loading import loading

LOOP_OPTIONS = ("shift", "seconds")
"""Only with --loop."""
LOOP_TAKES = (*LOOP_OPTIONS, "loop", "task", "algo", "seed", "out", "as_json")
RESUME_TAKES = ("resume", "total_timesteps", "as_json")
FLAGS = {"as_json": "--json", "total_timesteps": "--steps", "changes": "--set"}
"""Options whose names are not those of their parameters."""


@click.command()
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task to learn.")
@click.option(
    "--robot", default="panda", show_default=True, help="Arm of the task: a name, or the path of a YAML file."
)
@click.option("--env", default="", help="Any Gymnasium id with continuous actions, instead of a task.")
@click.option("--algo", default="sac", show_default=True, type=click.Choice(["sac", "ppo"]), help="Algorithm.")
@click.option("--demonstrations", default=0, show_default=True, type=click.IntRange(0), help="Scripted episodes.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Seed of everything.")
@click.option("--seeds", default=None, type=click.IntRange(2, 100),
              help="So many trainings, with --seed and the seeds after it; each gets a folder in OUT.")  # fmt: skip
@click.option("--n-envs", default=1, show_default=True, type=click.IntRange(1, 256),
              help="Environments that are stepped at once, each in a process.")  # fmt: skip
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
@click.option("--set", "changes", multiple=True, metavar="FIELD=VALUE",
              help="Any field of a recipe, such as sac.gamma=0.99; may be given again.")  # fmt: skip
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard curves to OUT/tensorboard.")
@click.option("--resume", type=click.Path(path_type=Path), default=None, metavar="OUT",
              help="Go on with the training or the series in this folder; --steps may move its end.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a training that OUT holds.")
@click.option("--loop", is_flag=True, help="Run the whole loop of a fleet from the shipped policy, in virtual time.")
@click.option("--shift", default="new-object", show_default=True, help="With --loop: how the world changes.")
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1), help="With --loop: virtual seconds.")
@click.option("--out", type=click.Path(path_type=Path), default=None,
              help="Folder; the next of runs/train_1, runs/train_2 … unless given; runs/loop with --loop.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.pass_context
def train(ctx: click.Context, /, as_json: bool, **options: Any) -> int:
    """Train a policy and leave model.zip, a bundle, the effective config and a learner checkpoint in OUT.

    The training is written every 30 seconds, and when Ctrl-C or SIGTERM ends it; --resume goes on with it. The last
    figure is the success, or the return, of the policy as it was written, on scenarios that were not used before.

    With --loop, a simulated fleet learns its way back after the world shifted; the policy in production at the end is
    left in OUT.
    """
    from floop_robot.train.stop_signals import StopSignals

    with StopSignals(patience_s=0.0) as stop:  # imports and random play take seconds
        try:
            result = _run(ctx, **options)
        except KeyboardInterrupt as stopped:
            click.echo(str(stopped) or "stopped", err=True)
            return 128 + stop.received if stop.received else getattr(stopped, "status", 130)
    if as_json:
        click.echo(msgspec.json.encode(result).decode())
    else:
        from floop_robot.cli.train_report import report

        click.echo(report(result))
    return 0


def _run(ctx: click.Context, **options: Any) -> msgspec.Struct:
    if options["loop"]:
        return _loop(ctx, options)
    _refuse_others(ctx, tuple(name for name in ctx.params if name not in LOOP_OPTIONS), "without --loop")
    with loading("train"):
        importlib.import_module("floop_robot.train.train")
    if options["resume"] is not None:
        return _resume(ctx, options)
    return _train(ctx, options)


def _loop(ctx: click.Context, options: dict[str, Any]) -> msgspec.Struct:
    from floop_robot.cli.train_loop import run_fleet_loop

    _refuse_others(ctx, LOOP_TAKES, "with --loop")
    names = ("task", "algo", "seed", "shift", "seconds")
    chosen = {name: options[name] for name in names}
    return run_fleet_loop(**chosen, out=options["out"] or Path("runs/loop"))


def _resume(ctx: click.Context, options: dict[str, Any]) -> msgspec.Struct:
    from floop_robot.cli.progress import training_progress
    from floop_robot.train.seed_runs import is_series, resume_seeds
    from floop_robot.train.train import resume

    _refuse_others(ctx, RESUME_TAKES, "with --resume, which goes on with the settings of the training")
    go_on = resume_seeds if is_series(options["resume"]) else resume
    with training_progress() as on_progress:
        return go_on(options["resume"], on_progress, total_timesteps=options["total_timesteps"])


def _train(ctx: click.Context, options: dict[str, Any]) -> msgspec.Struct:
    from floop_robot.cli.progress import training_progress
    from floop_robot.train.recipe import FIELDS, config_of, parse_changes, read_recipe
    from floop_robot.train.seed_runs import train_seeds
    from floop_robot.train.train import train as run

    recipe = read_recipe(options["recipe"]) if options["recipe"] else {}
    changes = parse_changes(options["changes"])
    given = {name: value for name, value in options.items() if name in FIELDS and _is_given(ctx, name)}
    given = {name: str(value) if name == "out" else value for name, value in given.items()}
    for name in given:
        if name in changes:
            raise click.UsageError(f"{_flag(name)} and --set {name} say the same; leave out one")
    config = config_of(recipe, changes, given)
    with training_progress() as on_progress:
        if options["seeds"]:
            return train_seeds(config, options["seeds"], on_progress, overwrite=options["overwrite"])
        return run(config, on_progress, overwrite=options["overwrite"])


def _refuse_others(ctx: click.Context, taken: tuple[str, ...], where: str) -> None:
    for name in ctx.params:
        if name not in taken and _is_given(ctx, name):
            raise click.UsageError(f"{_flag(name)} can't be used {where}; leave it out")


def _flag(name: str) -> str:
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
