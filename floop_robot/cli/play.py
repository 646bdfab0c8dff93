"""`floop play`: records one episode as GIF, MP4 or PNG."""

from __future__ import annotations

from pathlib import Path

import click

from floop_robot.cli.loading import loading
from floop_robot.cli.zip_options import zip_options


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task to play.")
@click.option("--shift", default=None, help="Shift the world in this way; `floop demo --help` lists them.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 9999), help="Seed of the scenario.")
@click.option("--scenario", type=click.Path(path_type=Path), default=None, help="Play this scenario file (JSON).")
@click.option("--expert", is_flag=True, help="Play the scripted demonstration instead of a policy.")
@zip_options
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("episode.gif"),
    show_default=True,
    help="File to write: .gif, .mp4 or .png (a strip of frames).",
)
def play(
    bundle: Path | None,
    task: str,
    shift: str | None,
    seed: int,
    scenario: Path | None,
    expert: bool,
    trust: bool,
    vecnormalize: Path | None,
    out: Path,
) -> None:
    """Record one episode of the policy BUNDLE; left out: the shipped policy."""
    with loading("play"):
        import msgspec

        from floop_envs.expert import Expert
        from floop_policies import baseline
        from floop_robot.core import PolicyActor
        from floop_robot.demo.clip import record, save_clip
        from floop_robot.sim.sim_world import evaluation_scenarios
        from floop_robot.spec.errors import ConfigError
        from floop_robot.spec.scenario import Scenario
        from floop_robot.spec.tasks import get_task
        from floop_robot.train.validate import load_policy

    spec = get_task(task).spec
    if scenario is None:
        chosen = evaluation_scenarios(task, shift, (), seed, 1)[0]
    else:
        try:
            chosen = msgspec.json.decode(scenario.read_bytes(), type=Scenario)
        except (OSError, msgspec.MsgspecError) as error:
            reason = getattr(error, "strerror", "") or error
            raise ConfigError(f"cannot read {scenario}: {reason}; give the JSON file of a scenario") from None
        if chosen.task != task:
            raise ConfigError(f"{scenario} is a scenario of {chosen.task}, not of {task}; give --task {chosen.task}")
    if expert:
        actor: PolicyActor = Expert(spec)
        name, calibration = "demonstration", None
    else:
        path = bundle or baseline(task)
        policy = load_policy(path, task, trust=trust, vecnormalize=vecnormalize)
        actor, name, calibration = policy.actor(), path.stem, policy.manifest.calibration
    frames, success = record(actor, chosen, name, calibration=calibration)
    save_clip(frames, out, spec.policy_rate_hz)
    verdict = "success" if success else "failure"
    click.echo(f"{out}: {len(frames)} frames of a {chosen.object.object_class}: {verdict}")
