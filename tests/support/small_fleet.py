"""A small fleet of real processes to test the gate and explorers in: each on its own ports and folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from floop_policies import checkpoint_path
from floop_robot.bundle import Bundle
from floop_robot.deploy import FleetClient, FleetStatus
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.spec.config import Endpoints, FloopConfig, GateConfig
from floop_robot.spec.errors import FloopError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Record, Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.uploader import RecordUploader
from tests.support.ports import free_base_port


class SmallFleet:
    """Processes by name; those that are left are killed at the end."""

    def __init__(self, folder: Path, baseline: Bundle, **changes: object) -> None:
        baseline.save(folder / "baseline.floop")
        shutil.copyfile(checkpoint_path("pick"), folder / "baseline.learner")
        self.config = FloopConfig(
            run_dir=str(folder / "run"),
            baseline=str(folder / "baseline.floop"),
            endpoints=Endpoints(base_port=free_base_port()),
            gate=GateConfig(workers=1, trials_while_healthy=True),
            **changes,  # type: ignore[arg-type]
        )
        self.file = write_config(self.config)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> SmallFleet:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def start(self, *names: str, robot: str = "") -> None:
        """Start central processes, or parts of a robot."""
        for part in names:
            name, of_robot = (f"{robot}.{part}", ["--robot", robot]) if robot else (part, [])
            command = [sys.executable, "-m", "floop_robot.services.entry", part, "--config", str(self.file), *of_robot]
            log = Path(self.config.run_dir) / f"{name}.log"
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            with log.open("ab") as file:
                self.processes[name] = subprocess.Popen(command, stdout=file, stderr=file, env=environment)

    def kill(self, name: str) -> None:
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait()

    def stop(self, name: str, by: signal.Signals = signal.SIGTERM) -> int:
        self.processes[name].send_signal(by)
        return self.processes[name].wait(10)

    def log(self, name: str) -> str:
        return (Path(self.config.run_dir) / f"{name}.log").read_text()

    def status(self) -> FleetStatus | None:
        """How the fleet is; None while nobody answers."""
        try:
            with FleetClient(self.config.endpoints.fleet_rpc, 1.0) as client:
                return client.status()
        except FloopError:
            return None

    def report(self, records: Sequence[Record], robot: str = "robot_1", source: Source = Source.ROBOT) -> None:
        """Send records as a robot does, and wait until they are in the journal."""
        rules = get_task(self.config.task)
        ids = ids_of(rules, load_robot("panda"))
        info = StreamInfo(robot, "", self.config.task, ids, source)
        uploader = RecordUploader(Path(self.config.run_dir) / "robots" / robot, info, self.config.endpoints.ingest)
        try:
            for record in records:
                assert uploader.put(record)
            assert uploader.drain(20.0)
        finally:
            uploader.close()
