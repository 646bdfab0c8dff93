"""The policy process of one robot: control loop, records out, policies in. No torch, no simulator."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec

from floop_robot.processes.driving import RobotArguments, drive, parse, prefer, stop_on_signals
from floop_robot.processes.stats import StatsFile
from floop_robot.robot.link import Links, link_folder
from floop_robot.robot.policy_loop import PolicyLoop, PolicyPorts, PolicySettings, PolicyStats
from floop_robot.robot.rate import RateLoop, RateStats
from floop_robot.robot.slots import PolicySlots
from floop_robot.rollout import PolicyReceiver, ReceiverConfig
from floop_robot.spec.ids import Ids, ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.task import TaskRules
from floop_robot.spec.tasks import get_task
from floop_robot.stream.outlet import Outlet, OutletStats

NICE = -2
DRAIN_S = 1.0
"""At the end, how long records may take to reach ingest; what does not get there waits in the spool."""

log = logging.getLogger(__name__)


class RobotStats(msgspec.Struct, frozen=True):
    """How one robot's policy process does."""

    boot_id: str
    """Boot of the spool: with the robot's name, the stream that `stream.sender.acked_seq` speaks of."""
    policy: PolicyStats
    rate: RateStats
    stream: OutletStats


def _receiver(
    arguments: RobotArguments, rules: TaskRules, ids: Ids, boot_id: str, slots: PolicySlots
) -> PolicyReceiver:
    endpoints, folder = arguments.config.endpoints, _folder(arguments)
    return PolicyReceiver(
        ReceiverConfig(
            robot=arguments.robot,
            boot_id=boot_id,
            announcements=endpoints.fleet,
            rpc=endpoints.fleet_rpc,
            folder=folder,
            heartbeat_s=arguments.config.rollout.heartbeat_s,
        ),
        rules.spec,
        ids,
        slots,
        log.warning,
    )


def _folder(arguments: RobotArguments) -> Path:
    return arguments.run_dir / "robots" / arguments.robot


def _outlet(arguments: RobotArguments, ids: Ids) -> Outlet:
    config = arguments.config
    return Outlet(
        _folder(arguments) / "spool",
        StreamInfo(robot=arguments.robot, boot_id="", task=config.task, ids=ids, source=Source.ROBOT),
        config.endpoints.ingest,
        limit_mb=config.robot.spool_limit_mb,
        sync_interval_s=config.robot.sync_interval_s,
    )


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; the episode in progress is ended as aborted and recorded."""
    stop = stop_on_signals()
    arguments = parse("policy", __doc__ or "", argv)
    config = arguments.config
    model, rules = load_robot(config.robot.model), get_task(config.task)
    ids = ids_of(rules, model)
    slots = PolicySlots()
    prefer(NICE)
    outlet = _outlet(arguments, ids)
    try:
        with (
            Links(link_folder(arguments.run_dir, arguments.robot)) as links,
            _receiver(arguments, rules, ids, outlet.info.boot_id, slots),
        ):
            control = PolicyLoop(
                model,
                rules,
                slots,
                PolicyPorts(links.states_in(), links.reports_in(), links.targets_out(), links.requests_out(), outlet),
                PolicySettings(
                    first_episode=time.time_ns() // 1_000_000,
                    observation_timeout_s=config.robot.observation_timeout_s,
                ),
            )
            loop = RateLoop(rules.spec.policy_rate_hz, control.tick, "control")

            def end_episode() -> None:
                control.must_end = True

            def figures() -> RobotStats:
                return RobotStats(outlet.info.boot_id, control.stats(), loop.stats(), outlet.stats())

            drive(loop, stop, StatsFile(arguments.run_dir, f"{arguments.robot}.policy"), figures, end_episode)
        outlet.drain(DRAIN_S)
    finally:
        outlet.close()
    return 0
