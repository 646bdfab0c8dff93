"""`floop play`: one episode as a GIF, MP4 or PNG."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--task", default="floop/Pick-v0", show_default=True, help="Task to play.")
@click.option("--shift", default=None, help="Play in a world shifted this way (see `floop demo --help`).")
@click.option("--seed", default=0, show_default=True, help="Which scenario.")
@click.option("--scenario", type=click.Path(path_type=Path), default=None, help="A scenario file (JSON) instead.")
@click.option("--expert", is_flag=True, help="Play the scripted demonstration instead of a policy.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("episode.gif"), show_default=True,
              help="Where to: .gif, .mp4 or .png (a strip).")
def play(bundle: Path | None, task: str, shift: str | None, seed: int, scenario: Path | None, expert: bool,
         out: Path) -> None:
    """Record one episode of BUNDLE (the shipped policy when left out)."""
    from floop_envs.expert import Expert
    from floop_policies import baseline
    from floop_robot.bundle import Bundle, verify
    from floop_robot.experiment.clip import record, save_clip
    from floop_robot.experiment.worlds import read_scenario, report_scenario
    from floop_robot.spec.ids import ids_of
    from floop_robot.spec.robot_model import load_robot
    from floop_robot.spec.tasks import get_task

    rules = get_task(task)
    chosen = read_scenario(scenario) if scenario else report_scenario(task, shift, seed)
    if expert:
        actor, name = Expert(rules.spec), "demonstration"
    else:
        path = bundle or baseline(task)
        loaded = Bundle.load(path)
        actor, name = verify(loaded, rules.spec, ids_of(rules, load_robot("panda"))).actor, path.stem
    frames = record(actor, chosen, name)
    save_clip(frames, out, rules.spec.policy_rate_hz)
    click.echo(f"{out}: {len(frames)} frames of a {chosen.object.object_class}")
