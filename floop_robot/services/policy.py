"""The policy process of one robot: control loop, records out, policies in. No torch, no simulator."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec

from floop_robot.durable.secret_file import shared_secret
from floop_robot.robot.checked_states import CheckedStates
from floop_robot.robot.drain_state import DrainState
from floop_robot.robot.episode_state_machine import DRAINED_OR_HELD
from floop_robot.robot.host_identity import host_identity
from floop_robot.robot.ipc import IpcLinks, link_folder
from floop_robot.robot.loop_interface import LoopInterface, LoopView
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.robot.policy_loop import JUDGES_BY_WIDTH, PolicyLink, PolicyLoop, PolicySettings, PolicyStats
from floop_robot.robot.policy_updater import PolicyUpdater, UpdaterConfig
from floop_robot.robot.rate_loop import RateLoop, RateStats
from floop_robot.robot.state_faults import StateFaults
from floop_robot.services.main_loop import (
    SHUTDOWN_TICKS_S,
    RobotArguments,
    freeze_objects,
    parse,
    stop_on_signals,
)
from floop_robot.services.record_stream import open_stream
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import WRITE_INTERVAL_S, StatsFile
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.episode_numbers import first_episode
from floop_robot.stream.uploader import UploaderStats

NICE = -2
STATES_SILENT_S: Final = 1.0
"""Robot states that come after a silence of this many seconds count as another driver's."""
DRAIN_S = 1.0
"""At the end, how long records may take to reach ingest; the others wait in the spool."""

INACTIVE = "the policy node is not active"
"""Answer of a process whose control loop does not run; only a ROS node can be in that state."""

log = logging.getLogger(__name__)


class RobotStats(msgspec.Struct, frozen=True):
    """How one robot's policy process does."""

    boot_id: str
    """Boot of the spool: with the robot's name, the stream that `stream.sender.acked_seq` speaks of."""
    policy: PolicyStats
    rate: RateStats
    stream: UploaderStats


class PolicyProcess:
    """A robot's policy process, whatever its link: records out, policies in, and between `start` and `stop` control.

    Records and policies flow from construction until `close`. Raises `FloopError`s for an unknown model or task, and
    for a folder that can't be used.
    """

    def __init__(self, arguments: RobotArguments, notice: Callable[[str], None] = log.warning) -> None:
        """`notice` gets one line per thing worth a person's attention; from another thread."""
        self.arguments, self.robot = arguments, arguments.robot
        config = arguments.config
        self.model, self.rules = load_robot(config.robot.model), get_task(config.task)
        self.ids = ids_of(self.rules, self.model)
        self.policy_buffer = PolicyBuffer()
        self.folder = arguments.run_dir / "robots" / arguments.robot
        """What this robot keeps over restarts."""
        self.control: PolicyLoop | None = None
        """The control loop that runs; None while inactive."""
        self.interface: LoopInterface | None = None
        """Of the last control loop; its last reports can be taken after it ended. None before the first."""
        self.state_faults = StateFaults()
        """What was wrong with robot states, of the last control loop."""
        self._first_episode = first_episode(self.folder)
        self._loop: RateLoop | None = None
        self._notice, self._has_said_width = notice, False
        self._stats_lock = threading.Lock()
        self._secret = shared_secret(self.folder / "secret")
        self.uploader = open_stream(config, arguments.robot, Source.ROBOT, self.folder / "spool", self._secret)
        self.drain_state = DrainState(self.folder)
        try:
            self._stats = StatsFile[RobotStats](arguments.run_dir, f"{arguments.robot}.policy")
            self.updater = self._updater(notice)
            self.updater.start()
        except BaseException:
            self.uploader.close()
            raise

    @property
    def boot_id(self) -> str:
        """Boot of the spool in force."""
        return self.uploader.info.boot_id

    @property
    def is_active(self) -> bool:
        """A control loop runs."""
        return self.control is not None

    @property
    def view(self) -> LoopView:
        """The last step's; an empty one while inactive."""
        return self.drain_state.view

    @property
    def next_episode(self) -> int:
        """Every number below belongs to an episode that has ended, or to none."""
        return (self.view.episode if self.is_active else 0) or self._first_episode

    def waiting_reason(self, view: LoopView) -> str:
        """What the next episode waits for, in words; empty while one runs."""
        if not self.is_active:
            return INACTIVE
        pause = self.drain_state.pause_reason
        return "; ".join(pause or missing if missing == DRAINED_OR_HELD else missing for missing in view.missing)

    @property
    def failure(self) -> BaseException | None:
        """What ended the control loop, if a step of it failed."""
        return self._loop.failure if self._loop else None

    def start(
        self,
        link: PolicyLink,
        interface: LoopInterface | None = None,
        phase_s: float | None = None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Run the control loop, on the host's beat where there is a `phase_s`; `on_failure`: see `RateLoop`."""
        self._first_episode = first_episode(self.folder)
        settings = PolicySettings(
            first_episode=self._first_episode,
            observation_timeout_s=self.arguments.config.robot.observation_timeout_s,
        )
        control = PolicyLoop(self.model, self.rules, self.policy_buffer, link, self.uploader, settings, interface)
        self.interface, self.state_faults = control.interface, link.state_faults
        self.drain_state.attach(control)
        self._loop = RateLoop(self.rules.spec.policy_rate_hz, control.tick, "control", phase_s, False, on_failure)
        freeze_objects()
        self._loop.start()
        self.control = control

    def stop(self) -> None:
        """End the running episode as aborted, then the loop: no further target is sent. Raises what a step raised."""
        loop, control = self._loop, self.control
        if loop is None or control is None:
            return
        try:
            control.must_end = True
            loop.join(SHUTDOWN_TICKS_S)
        finally:
            loop.stop()
            self.write_stats(force=True)
            self._first_episode = max(self._first_episode, self.view.episode + 1)
            self._loop = self.control = None
            self.drain_state.attach(None)
            loop.join(SHUTDOWN_TICKS_S)

    def current_stats(self) -> RobotStats | None:
        """Counts so far; None while inactive."""
        control, loop = self.control, self._loop
        if control is None or loop is None:
            return None
        return RobotStats(self.boot_id, control.stats(), loop.stats(), self.uploader.stats())

    def write_stats(self, *, force: bool = False) -> None:
        """Write the figures that `floop status` reads, when it is time to; from any thread."""
        with self._stats_lock:
            if (figures := self.current_stats()) is None:
                return
            self._stats.write(figures, force=force)
            if figures.policy.judges_by_width and not self._has_said_width:
                self._has_said_width = True
                self._notice(JUDGES_BY_WIDTH)

    def close(self, drain_s: float = DRAIN_S) -> None:
        """End; records get `drain_s` to reach ingest."""
        self.updater.stop()
        self.uploader.drain(drain_s)
        self.uploader.close()

    def _updater(self, notice: Callable[[str], None]) -> PolicyUpdater:
        config = self.arguments.config
        settings = UpdaterConfig(
            robot=self.arguments.robot,
            boot_id=self.uploader.info.boot_id,
            announcements=config.endpoints.fleet,
            rpc=config.endpoints.fleet_rpc,
            folder=self.folder,
            heartbeat_s=config.deploy.heartbeat_s,
            host=host_identity(self.folder),
            secret=self._secret,
        )
        self.uploader.pause(True)  # until the fleet manager has said whether another host has this robot's name
        return PolicyUpdater(
            settings, self.rules.spec, self.ids, self.policy_buffer, notice, self.drain_state, self._set_name_refused
        )

    def _set_name_refused(self, why: str) -> None:
        """Another host has this robot's name (or, if empty, none has): mix no records with those of that one."""
        self.drain_state.set_name_refused(why)
        self.uploader.pause(bool(why), why)


def run(arguments: RobotArguments, link: PolicyLink, stop: threading.Event) -> None:
    """Control until `stop`; the episode in progress is ended as aborted and recorded. Raises what a step raised."""
    with closing(PolicyProcess(arguments)) as process:
        process.start(link, on_failure=stop.set)
        try:
            while not stop.wait(WRITE_INTERVAL_S):
                process.write_stats()
        finally:
            process.stop()


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    stop = stop_on_signals()
    arguments = parse("policy", __doc__ or "", argv)
    raise_priority(NICE)
    with IpcLinks(link_folder(arguments.run_dir, arguments.robot)) as ipc:
        states = CheckedStates(ipc.states_in(), load_robot(arguments.config.robot.model), STATES_SILENT_S)
        link = PolicyLink(states, ipc.reports_in(), ipc.targets_out(), ipc.requests_out(), states.faults)
        run(arguments, link, stop)
    return 0
