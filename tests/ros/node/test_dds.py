"""No shared memory under floop's nodes, and nodes whose standard streams are closed: real processes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.dds import SMALLEST_SEGMENT_BYTES, without_shared_memory
from floop_robot.ros.node.qos import SENSOR
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, NodeProcess, RobotRig


@pytest.fixture
def rig(tmp_path: Path, domain: int) -> Iterator[RobotRig]:
    rig = RobotRig(tmp_path / "run", domain)
    yield rig
    rig.close()


def shared_by_dds(node: NodeProcess) -> set[str]:
    """Segments of shared memory of Fast DDS (older: Fast RTPS) that a process has mapped."""
    files = {line.split()[-1] for line in node.maps().splitlines() if "/dev/shm/" in line}
    return {file for file in files if "fastdds" in file or "fastrtps" in file}


@pytest.mark.parametrize(
    ("only", "reach"), [(None, "LOCALHOST"), ("1", None), ("1", "SUBNET"), (None, "a word that ROS does not know")]
)
def test_a_node_that_stays_on_this_machine_shares_no_memory(
    rig: RobotRig, monkeypatch: pytest.MonkeyPatch, only: str | None, reach: str | None
) -> None:
    peer = Peer(rig.domain)
    try:
        heard = peer.listen(msg.SafetyStatus, f"/{ROBOT}/{topics.SAFETY_STATUS}", SENSOR)
        for name, value in (("ROS_LOCALHOST_ONLY", only), ("ROS_AUTOMATIC_DISCOVERY_RANGE", reach)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        node = rig.start("safety_node", "simulated:=true")
        wait_for(lambda: heard or node.process.poll() is not None, what="the node speaking")
        assert node.process.poll() is None, node.text
        assert not shared_by_dds(node)
        node.end()
    finally:
        peer.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_node_whose_streams_are_closed_comes_as_far_as_any(tmp_path: Path, domain: int, closed: str) -> None:
    missing = tmp_path / "missing.yaml"
    words = [sys.executable, "-m", "floop_robot.ros.cell.cell_node", "--ros-args", "-r", f"__ns:=/{ROBOT}"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words, "-p", f"config:={missing}"],
        env=os.environ | {"ROS_DOMAIN_ID": str(domain)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert closed != ">&-" or (str(missing) in done.stderr and "Traceback" not in done.stderr), done.stderr


def test_only_warnings_about_shared_memory_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with without_shared_memory():
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == (SMALLEST_SEGMENT_BYTES, before[1])
        os.write(1, b"[RTPS_TRANSPORT_SHM Error] Failed to create segment\n")
        os.write(1, b"the licence ends soon\n")
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    assert capfd.readouterr() == ("", "the licence ends soon\n")
    os.write(1, b"as before\n")
    assert capfd.readouterr() == ("as before\n", "")


@pytest.mark.parametrize(
    ("name", "value"), [("FASTDDS_BUILTIN_TRANSPORTS", "DEFAULT"), ("ROS_AUTOMATIC_DISCOVERY_RANGE", "SUBNET")]
)
def test_who_asks_for_another_transport_or_range_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.delenv("ROS_LOCALHOST_ONLY", raising=False)
    monkeypatch.setenv(name, value)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with without_shared_memory():
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
        os.write(1, b"RTPS_TRANSPORT_SHM\n")
    assert capfd.readouterr() == ("RTPS_TRANSPORT_SHM\n", "")
