"""The safety process of one robot: limiter and watchdog at servo rate, the only one that commands the driver."""

from __future__ import annotations

from contextlib import closing

import msgspec

from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.ipc import IpcLinks, link_folder
from floop_robot.robot.messages import Interventions
from floop_robot.robot.rate_loop import RateLoop, RateStats, use_realtime_priority
from floop_robot.robot.safety_loop import SafetyCore, SafetyLoop
from floop_robot.services.main_loop import parse, run_loop, stop_on_signals
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

NICE = -5
"""Nothing on the machine is as urgent as the servo loop; it needs about 2 % of a core."""


class SafetyStats(msgspec.Struct, frozen=True):
    """How the servo loop does."""

    rate: RateStats
    interventions: Interventions
    fault: str


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    arguments = parse("safety", __doc__ or "", argv)
    config = arguments.config
    folder = link_folder(arguments.run_dir, arguments.robot)
    core = SafetyCore(
        load_robot(config.robot.model),
        config.robot.servo_rate_hz,
        get_task(config.task).spec.policy_rate_hz,
        config.robot.observation_timeout_s,
        EstopLatch(folder / "stopped"),
    )
    raise_priority(NICE)
    use_realtime_priority()
    with IpcLinks(folder) as links:
        servo = SafetyLoop(
            core,
            links.states_in(),
            links.targets_in(),
            links.estop_commands_in(),
            links.commands_out(),
            links.reports_out(),
        )
        loop = RateLoop(config.robot.servo_rate_hz, servo.tick, "servo", realtime=True)

        def current_stats() -> SafetyStats:
            last = servo.last
            return SafetyStats(
                loop.stats(), last.interventions if last else Interventions(), last.fault if last else ""
            )

        with closing(servo):
            run_loop(loop, stop, StatsFile(arguments.run_dir, f"{arguments.robot}.safety"), current_stats)
    return 0
