"""The simulated driver process of one robot: a PyBullet arm in real time, in place of a real arm's driver."""

from __future__ import annotations

import threading
from collections.abc import Callable

from floop_envs.simulated_urdf import log_notes
from floop_envs.world import World
from floop_robot.robot.ipc import IpcLinks, link_folder
from floop_robot.robot.rate_loop import RateLoop
from floop_robot.services.main_loop import RobotArguments, parse, run_loop, stop_on_signals
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.sim.sim_driver import DriverLink, DriverStats, SimDriver
from floop_robot.sim.sim_world import RobotScenarios
from floop_robot.spec.robot_model import load_robot

NICE = -3


class SimRobotProcess:
    """A simulated driver's process, whatever its link; a context manager."""

    def __init__(
        self,
        arguments: RobotArguments,
        link: DriverLink,
        phase_s: float | None = None,
        after_tick: Callable[[SimDriver], None] = lambda _: None,
    ) -> None:
        """`phase_s`: see `RateLoop`. `after_tick` is called in the driver's thread, at servo rate."""
        self._arguments, config = arguments, arguments.config
        model = load_robot(config.robot.model)
        log_notes(model)
        self._world = World(model)
        scenarios = RobotScenarios(config.task, arguments.robot, arguments.index, config.seed)
        try:
            self.driver = SimDriver(link, self._world, scenarios, arguments.run_dir, config.robot.servo_rate_hz)
        except BaseException:
            self._world.close()
            raise

        def tick(now_s: float) -> None:
            self.driver.tick(now_s)
            after_tick(self.driver)

        self.loop = RateLoop(config.robot.servo_rate_hz, tick, "driver", phase_s)

    def __enter__(self) -> SimRobotProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._world.close()

    def run(self, stop: threading.Event) -> None:
        """Simulate until `stop`; raises what a tick raised."""
        stats = StatsFile[DriverStats](self._arguments.run_dir, f"{self._arguments.robot}.sim_robot")
        run_loop(self.loop, stop, stats, lambda: self.driver.stats(self.loop.stats()))


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    arguments = parse("sim_robot", __doc__ or "", argv)
    raise_priority(NICE)
    with IpcLinks(link_folder(arguments.run_dir, arguments.robot)) as ipc:
        link = DriverLink(ipc.states_out(), ipc.commands_in(), ipc.requests_in())
        with SimRobotProcess(arguments, link) as process:
            process.run(stop)
    return 0
