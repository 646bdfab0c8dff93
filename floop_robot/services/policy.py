"""The policy process of one robot: control loop, records out, policies in. No torch, no simulator."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from floop_robot.robot.drain_state import DrainState
from floop_robot.robot.ipc import IpcLinks, link_folder
from floop_robot.robot.loop_interface import LoopInterface
from floop_robot.robot.policy_buffer import PolicyBuffer
from floop_robot.robot.policy_loop import PolicyLoop, PolicyPorts, PolicySettings, PolicyStats
from floop_robot.robot.policy_updater import PolicyUpdater, UpdaterConfig
from floop_robot.robot.rate_loop import RateLoop, RateStats
from floop_robot.services.main_loop import RobotArguments, parse, run_loop, stop_on_signals
from floop_robot.services.supervision.priority import raise_priority
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.uploader import RecordUploader, UploaderStats

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
    stream: UploaderStats


class PolicyProcess:
    """Everything of a robot's policy process but its control loop: records out, policies in.

    At work from construction until `close`. Raises `FloopError`s for an unknown model or task, and for a folder that
    cannot be used.
    """

    def __init__(self, arguments: RobotArguments, notice: Callable[[str], None] = log.warning) -> None:
        """`notice` gets one line per thing worth a person's attention; from another thread."""
        self.arguments = arguments
        config = arguments.config
        self.model, self.rules = load_robot(config.robot.model), get_task(config.task)
        self.ids = ids_of(self.rules, self.model)
        self.policy_buffer = PolicyBuffer()
        self.folder = arguments.run_dir / "robots" / arguments.robot
        """What this robot keeps over restarts."""
        self.uploader = self._uploader(self.folder / "spool")
        self.drain_state = DrainState(self.folder)
        try:
            self.updater = self._updater(notice)
            self.updater.start()
        except BaseException:
            self.uploader.close()
            raise

    def control(self, ports: PolicyPorts, interface: LoopInterface | None = None) -> PolicyLoop:
        """A control loop that acts on what arrives here."""
        settings = PolicySettings(
            first_episode=time.time_ns() // 1_000_000,
            observation_timeout_s=self.arguments.config.robot.observation_timeout_s,
        )
        control = PolicyLoop(self.model, self.rules, self.policy_buffer, ports, settings, interface)
        self.drain_state.attach(control)
        return control

    def rate_loop(self, tick: Callable[[float], None], phase_s: float | None = None) -> RateLoop:
        """What calls a control loop's `tick`, on the host's beat where there is a `phase_s`; not started."""
        return RateLoop(self.rules.spec.policy_rate_hz, tick, "control", phase_s)

    def stats_file(self) -> StatsFile[RobotStats]:
        """Where the figures of this process go."""
        return StatsFile(self.arguments.run_dir, f"{self.arguments.robot}.policy")

    def current_stats(self, control: PolicyLoop, loop: RateLoop) -> RobotStats:
        """Counts so far."""
        return RobotStats(self.uploader.info.boot_id, control.stats(), loop.stats(), self.uploader.stats())

    def close(self, drain_s: float = DRAIN_S) -> None:
        """End; records get `drain_s` to reach ingest."""
        self.updater.stop()
        self.uploader.drain(drain_s)
        self.uploader.close()

    def _uploader(self, spool: Path) -> RecordUploader:
        config = self.arguments.config
        return RecordUploader(
            spool,
            StreamInfo(robot=self.arguments.robot, boot_id="", task=config.task, ids=self.ids, source=Source.ROBOT),
            config.endpoints.ingest,
            limit_mb=config.robot.spool_limit_mb,
            sync_interval_s=config.robot.sync_interval_s,
        )

    def _updater(self, notice: Callable[[str], None]) -> PolicyUpdater:
        config = self.arguments.config
        settings = UpdaterConfig(
            robot=self.arguments.robot,
            boot_id=self.uploader.info.boot_id,
            announcements=config.endpoints.fleet,
            rpc=config.endpoints.fleet_rpc,
            folder=self.folder,
            heartbeat_s=config.deploy.heartbeat_s,
        )
        return PolicyUpdater(settings, self.rules.spec, self.ids, self.policy_buffer, notice, self.drain_state)


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; the episode in progress is ended as aborted and recorded."""
    stop = stop_on_signals()
    arguments = parse("policy", __doc__ or "", argv)
    raise_priority(NICE)
    policy_process = PolicyProcess(arguments)
    try:
        with IpcLinks(link_folder(arguments.run_dir, arguments.robot)) as links:
            control = policy_process.control(
                PolicyPorts(
                    links.states_in(),
                    links.reports_in(),
                    links.targets_out(),
                    links.requests_out(),
                    policy_process.uploader,
                )
            )
            loop = policy_process.rate_loop(control.tick)

            def end_episode() -> None:
                control.must_end = True

            run_loop(
                loop,
                stop,
                policy_process.stats_file(),
                lambda: policy_process.current_stats(control, loop),
                end_episode,
            )
    finally:
        policy_process.close()
    return 0
