"""One robot as its real node processes, in a folder and a domain of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.services.supervision.supervisor import GRACE_S
from floop_robot.spec.config import Endpoints, FloopConfig, RobotConfig
from floop_robot.stream.codec import Block, decode_block
from floop_robot.stream.segment import open_segment, read_blocks
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

ROBOT = "robot_1"
VERSION = 7
BAD_WORDS = ("Traceback", "terminate called", "Segmentation", "Exception ignored", "InvalidHandle", "never retrieved")


class NodeProcess:
    """One node as a process; what it prints lies in `log`."""

    def __init__(self, module: str, arguments: list[str], domain: int, log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"floop_robot.ros.{module.split('_')[0]}.{module}", "--ros-args", *arguments],
                env=os.environ | {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def maps(self) -> str:
        """The libraries it has loaded, among others."""
        return Path(f"/proc/{self.process.pid}/maps").read_text()

    def end(self, *, signals: int = 1, statuses: tuple[int, ...] = (0,)) -> None:
        """SIGINT, as from a terminal. It must end by itself before a supervisor kills it, in order, without a trace."""
        for _ in range(signals):
            self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there {GRACE_S} s after SIGINT:\n{self.text}") from None
        assert status in statuses, f"exit status {status}:\n{self.text}"
        assert not [w for w in BAD_WORDS if w in self.text], self.text

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class RobotRig:
    """Starts nodes of one robot; kills whatever is left on `close`."""

    def __init__(self, run_dir: Path, domain: int, *, robot: RobotConfig | None = None, operators: str = "") -> None:
        self.run_dir, self.domain = run_dir, domain
        self.config = FloopConfig(
            robots=1,
            run_dir=str(run_dir),
            operators=operators,
            endpoints=Endpoints(base_port=free_base_port()),  # robots find no central process there
            robot=robot or RobotConfig(),
        )
        self.config_file = write_config(self.config)
        self.nodes: dict[str, NodeProcess] = {}
        self._given: dict[str, tuple[str, ...]] = {}

    @property
    def folder(self) -> Path:
        """What the policy node keeps over restarts."""
        return self.run_dir / "robots" / ROBOT

    def install(self, version: int = VERSION) -> None:
        """Leave the baseline as the policy that the robot stored."""
        self.folder.mkdir(parents=True, exist_ok=True)
        bundle = Bundle.load(baseline(self.config.task)).with_version(
            version=version, epoch=1, parent=0, certificate=None
        )
        bundle.save(self.folder / "policy.floop")

    def spool_lock(self) -> bool:
        """Whether some process has the robot's spool open."""
        with (self.folder / "spool" / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def blocks(self) -> list[Block]:
        """What the robot has on its disk."""
        segments = [open_segment(path) for path in sorted((self.folder / "spool").glob("*.log"))]
        return [decode_block(block.payload) for segment in segments for _, block in read_blocks(segment, 0)]

    def start(self, module: str, *parameters: str, config: Path | None = None) -> NodeProcess:
        """Start a node: `parameters` are `name:=value`."""
        self._given[module] = parameters
        given = [word for p in (f"config:={config or self.config_file}", *parameters) for word in ("-p", p)]
        log = self.run_dir / f"{module}.log"
        self.nodes[module] = NodeProcess(module, ["-r", f"__ns:=/{ROBOT}", *given], self.domain, log)
        return self.nodes[module]

    def start_again(self, module: str) -> NodeProcess:
        """Start a node as it was last started."""
        return self.start(module, *self._given[module])

    def start_arm(self) -> None:
        """Simulated arm and safety."""
        self.start("sim_robot_node")
        self.start("safety_node", "simulated:=true")

    def exit_of(self, node: NodeProcess, timeout_s: float = 20.0) -> tuple[int, str]:
        """Exit status and output of a node that gives up."""
        wait_for(lambda: node.process.poll() is not None, timeout_s, "the end of the process")
        return node.process.returncode, node.text

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()
