"""`floop stop`: stops robots, with ROS and without, whether or not a fleet manager runs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import click
import msgspec

from floop_robot.cli.operator_options import user_at_host
from floop_robot.cli.which_fleet import fleet_config, fleet_options
from floop_robot.deploy import AuditNote, FleetClient, Refused
from floop_robot.deploy.stop_messages import EstopReport, GetEstops, StopRobots
from floop_robot.robot.estop_socket import WILL_START_STOPPED, ask_robot
from floop_robot.robot.messages import StopCommand
from floop_robot.services.supervision.fleet_description import CONFIG_FILE
from floop_robot.services.supervision.stats_file import stats_age_s
from floop_robot.services.supervision.stopped_run import stopped_reason
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import FloopError, UnknownName
from floop_robot.spec.estop import join_texts

ANSWER_S: Final = 1.5
"""A fleet manager that runs answers within this time."""
WAIT_S: Final = 3.0
"""How long robots get to obey the fleet manager."""
POLL_S: Final = 0.05


@click.command()
@fleet_options
@click.argument("robots", nargs=-1, metavar="[ROBOT]...")
@click.option("--all", "everyone", is_flag=True, help="Stop every robot, as without any ROBOT.")
@click.option("--who", default="", help="Your name, for the record; left out: user@host.")
@click.option("--why", default="", help="Reason, for the record.")
def stop(config: Path | None, as_json: bool, robots: tuple[str, ...], everyone: bool, who: str, why: str) -> int:
    """Stop each ROBOT (left out: all) until `floop reset` lets it move again.

    Needs no token. It asks the robots of this host and the fleet manager at once. A robot that does not run, or has
    never run, starts stopped here. Exit status 1 unless every robot has stopped, or will start stopped on this host,
    and its disk has that.
    """
    fleet = fleet_config(config)
    unknown = [str(UnknownName("robot", name, fleet.robot_names)) for name in robots if name not in fleet.robot_names]
    named = fleet.robot_names if everyone or not robots else tuple(r for r in fleet.robot_names if r in robots)
    who, why = (join_texts("", text) for text in (who or user_at_host(), why))
    request = StopRobots(robots=named, who=who, why=why)
    outcomes = _stop(fleet, request) if named else {}
    missed = {name: text for name, (is_stopped, text) in outcomes.items() if not is_stopped}
    if as_json:
        later = [name for name, (_, text) in outcomes.items() if text == WILL_START_STOPPED]
        stopped = [name for name in outcomes if name not in (*missed, *later)]
        found = {"stopped": stopped, "will_start_stopped": later, "missed": missed, "unknown": unknown}
        click.echo(msgspec.json.encode(found).decode())
    else:
        for name, (_, text) in outcomes.items():
            click.echo(f"{name}: {text}")
    if unknown:
        click.echo(f"floop: {'; '.join(unknown)}", err=True)
    return int(bool(missed or unknown))


def _stop(fleet: FloopConfig, request: StopRobots) -> dict[str, tuple[bool, str]]:
    """Stop by every way at once; returns for each robot whether it is stopped, and what to say of it.

    The fleet manager's word counts where it has heard the robot. On this host the robot may have run at another time.
    """
    with ThreadPoolExecutor(len(request.robots) + 1) as pool:  # none waits for another
        manager = pool.submit(_by_manager, fleet, request)
        here = {name: pool.submit(_here, fleet, name, request) for name in request.robots}
    report, problem = manager.result()
    outcomes = {name: future.result() for name, future in here.items()}
    for name, (is_stopped, text) in outcomes.items():
        heard = next((each for each in report.robots if each.robot == name), None) if report else None
        if heard is not None and (heard.state is not None or not is_stopped):
            kept = "keeps the stop and sends it again" if report and report.kept else "could not keep the stop"
            pending = f"has not obeyed yet: the fleet manager {kept}; use its own e-stop"
            outcomes[name] = (False, pending) if heard.pending is not None else (True, "stopped")
        elif not is_stopped:
            outcomes[name] = False, f"{text}; {problem}".strip("; ")
    return outcomes


def _here(fleet: FloopConfig, robot: str, request: StopRobots) -> tuple[bool, str]:
    """As `_stop`, for a robot of this host. The stop of one that never ran is kept as well, for its first start."""
    is_known = _belongs_here(fleet, robot)
    try:
        command = StopCommand(who=request.who, why=request.why, request_id=request.request_id)
        answer = ask_robot(Path(fleet.run_dir), robot, command)
    except FloopError as error:
        return False, f"not known to have stopped: {error}"
    if answer.success and not is_known and answer.message == WILL_START_STOPPED:
        folder = Path(fleet.run_dir).resolve()
        later = f"it has not run in {folder} yet; if it starts there, it starts stopped"
        return False, f"not known to have stopped: {later}"
    return answer.success, answer.message if answer.success else f"not known to have stopped: {answer.message}"


def _belongs_here(fleet: FloopConfig, robot: str) -> bool:
    """Whether the robot can run on no other host: it has run here, or the fleet that was begun here is local."""
    run_dir = Path(fleet.run_dir)
    is_local = fleet.endpoints.is_local and (run_dir / CONFIG_FILE).exists()
    return is_local or stats_age_s(run_dir, f"{robot}.safety") is not None


def _by_manager(fleet: FloopConfig, request: StopRobots) -> tuple[EstopReport | None, str]:
    """What the fleet manager says once its robots have obeyed, or why it says nothing."""
    if reason := stopped_reason(fleet):  # another fleet's may answer on its ports
        return None, reason
    try:
        with FleetClient(fleet.endpoints.fleet_rpc, ANSWER_S) as client:
            try:
                report, deadline_s = client.ask(request, EstopReport), time.monotonic() + WAIT_S
            except Refused:  # without ROS it reaches no robot, but keeps the audit
                what = f"stopped {', '.join(request.robots)}"
                client.send_command(AuditNote(who=request.who, what=what, why=request.why))
                raise
            while any(r.pending and r.robot in request.robots for r in report.robots) and time.monotonic() < deadline_s:
                time.sleep(POLL_S)
                report = client.ask(GetEstops(), EstopReport)
            return report, ""
    except FloopError as error:
        return None, str(error)
