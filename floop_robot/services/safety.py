"""The safety process of one robot: limiter and watchdog at servo rate, the only one that commands the driver."""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from pathlib import Path

import msgspec

from floop_robot.robot.checked_states import CheckedStates
from floop_robot.robot.estop_interface import EstopInterface
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.estop_socket import LATCH_FILE, EstopServer
from floop_robot.robot.following_error import FollowingErrorSettings
from floop_robot.robot.ipc import IpcLinks, link_folder
from floop_robot.robot.messages import (
    Interventions,
    SafetyMode,
)
from floop_robot.robot.operators import OperatorTokens
from floop_robot.robot.rate_loop import RateLoop, RateStats, use_realtime_priority
from floop_robot.robot.safety_loop import SafetyCore, SafetyLink, SafetyLoop
from floop_robot.services.diagnostics import (
    ERROR,
    OK,
    WARN,
    DiagnosticItem,
    rate_diagnostics,
    state_diagnostics,
    thread_diagnostics,
)
from floop_robot.services.main_loop import RobotArguments, parse, run_loop, stop_on_signals
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task

log = logging.getLogger(__name__)

NICE = -5
"""Nothing on the machine is as urgent as the servo loop; it needs about 2 % of a core."""


class SafetyStats(msgspec.Struct, frozen=True):
    """How the servo loop does."""

    rate: RateStats
    interventions: Interventions
    fault: str
    simulated: bool = True
    """Whether the arm is a simulated one."""
    state_faults: int = 0
    """Robot states that were unusable."""


class SafetyProcess:
    """A robot's safety process, whatever its link; a context manager."""

    def __init__(
        self,
        arguments: RobotArguments,
        estop: EstopInterface,
        link: SafetyLink,
        phase_s: float | None = None,
        *,
        simulated: bool = True,
        following_error: FollowingErrorSettings | None = None,
    ) -> None:
        """`phase_s`: the loop's place on the host's beat (`RateLoop`); `simulated`: the arm is no real one."""
        self._simulated, self._has_fault = simulated, False
        self._arguments, config = arguments, arguments.config
        rate_hz = config.robot.servo_rate_hz
        core = SafetyCore(
            load_robot(config.robot.model),
            rate_hz,
            get_task(config.task).spec.policy_rate_hz,
            config.robot.observation_timeout_s,
            estop.latch,
            following_error,
        )
        self.servo = SafetyLoop(core, link, estop)
        self.loop = RateLoop(rate_hz, self.servo.tick, "servo", phase_s, realtime=True)

    def __enter__(self) -> SafetyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.servo.close()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; raises what a tick raised."""
        stats = StatsFile[SafetyStats](self._arguments.run_dir, f"{self._arguments.robot}.safety")
        run_loop(self.loop, stop, stats, self._look)

    def _look(self) -> SafetyStats:
        """The figures; and the log tells when robot states become unusable, and when they are believed again."""
        faults = self.servo.core.state_faults
        if bool(fault := faults.current) != self._has_fault:
            self._has_fault = bool(fault)
            log.warning("%s", fault or f"robot states are believed again; {faults.total} were unusable so far")
        return self.current_stats()

    def current_stats(self) -> SafetyStats:
        """What `floop status` shows."""
        last = self.servo.last
        return SafetyStats(
            self.loop.stats(),
            last.interventions if last else Interventions(),
            last.fault if last else "",
            self._simulated,
            self.servo.core.state_faults.total,
        )

    def diagnostics(self) -> tuple[DiagnosticItem, ...]:
        """The health of loop, arm and robot states, and of joint efforts where they have limits."""
        rate_hz, core = self._arguments.config.robot.servo_rate_hz, self.servo.core
        rate = rate_diagnostics("servo loop", rate_hz, self.loop.stats())
        efforts = () if core.efforts.unknown is None else (_effort_item(core.efforts.unknown),)
        return rate, _safety_item(self.servo), state_diagnostics(core.state_faults), *efforts, *thread_diagnostics()


def _safety_item(servo: SafetyLoop) -> DiagnosticItem:
    """What safety does, in words: an error while stopped, a warning while it brakes or after a fault."""
    state = servo.last
    if state is None:
        return DiagnosticItem("safety", WARN, "starting")
    level = OK
    if state.estop:
        level = ERROR
    elif state.fault or servo.latch_writer.error or state.mode is SafetyMode.STOPPING:
        level = WARN
    counts = state.interventions
    values = {f"interventions_{cause}": count for cause, count in msgspec.structs.asdict(counts).items()}
    return DiagnosticItem(
        "safety",
        level,
        state.fault or servo.latch_writer.error or state.mode.value,
        {"mode": state.mode.value, "latch_on_disk": servo.latch_writer.error or "yes"} | values,
    )


def _effort_item(unknown: tuple[str, ...]) -> DiagnosticItem:
    """Whether limits of joint efforts are watched: nothing is beyond its limit that the driver does not tell."""
    if not unknown:
        return DiagnosticItem("joint efforts", OK, "watched")
    text = f"limits.effort_nm is not watched: the driver tells no effort of {', '.join(unknown)}"
    return DiagnosticItem("joint efforts", WARN, text)


def open_estop(arguments: RobotArguments, *, is_real: bool = False) -> EstopInterface:
    """The robot's e-stop, as its last safety process left it. Call it once no other process has the arm."""
    latch = EstopLatch(link_folder(arguments.run_dir, arguments.robot) / LATCH_FILE, is_real=is_real)
    operators = arguments.config.operators
    return EstopInterface(latch, OperatorTokens(Path(operators) if operators else None, required=is_real))


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    arguments = parse("safety", __doc__ or "", argv)
    folder = link_folder(arguments.run_dir, arguments.robot)
    raise_priority(NICE)
    use_realtime_priority()
    with IpcLinks(folder) as ipc:
        robot = arguments.config.robot
        states = CheckedStates(ipc.states_in(), load_robot(robot.model), robot.observation_timeout_s)
        link = SafetyLink(states, ipc.targets_in(), ipc.commands_out(), ipc.reports_out(), states.faults)
        estop = open_estop(arguments)
        process = SafetyProcess(arguments, estop, link, following_error=FollowingErrorSettings())
        with process, closing(EstopServer(folder, estop)):
            process.run(stop)
    return 0
