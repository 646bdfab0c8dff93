"""A robot whose driver speaks only standard topics: cell, safety and policy bring it to work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)

from std_msgs.msg import String
from std_srvs.srv import Trigger

from floop_interfaces import msg
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import EVENTS, LATCHED, SENSOR
from tests.support.operator_tokens import operators_file
from tests.support.ros.estop_calls import reset_robot, start_robot, stop_robot
from tests.support.ros.peer import Peer
from tests.support.ros.robot_rig import ROBOT, RobotRig

SUPPORT = Path(__file__).parents[2] / "support" / "ros"
DESCRIPTION = SUPPORT / "stand_in_driver.yaml"


class OwnArm:
    def __init__(
        self,
        folder: Path,
        domain: int,
        *cell_parameters: str,
        operators: str = "",
        description: Path = DESCRIPTION,
    ) -> None:
        self.rig, self.peer = RobotRig(folder / "run", domain, operators=operators), Peer(domain)
        self.results = self.peer.listen(msg.EpisodeResult, f"/{ROBOT}/episode_result", EVENTS)
        self.phases = self.peer.listen(msg.EpisodeState, f"/{ROBOT}/{topics.DRIVER_EPISODE}", LATCHED)
        self.states = self.peer.listen(msg.EpisodeState, f"/{ROBOT}/{topics.EPISODE_STATE}", LATCHED)
        self.notes = self.peer.listen(String, f"/{ROBOT}/stand_in", EVENTS)
        self.safety = self.peer.listen(msg.SafetyStatus, f"/{ROBOT}/{topics.SAFETY_STATUS}", SENSOR)
        self.rig.install()
        self.arm = subprocess.Popen(
            [sys.executable, str(SUPPORT / "arm_stand_in.py"), "--ros-args", "-r", f"__ns:=/{ROBOT}"],
            env=os.environ | {"ROS_DOMAIN_ID": str(domain), "OMP_NUM_THREADS": "1"},
        )
        driver = f"driver:={description}"
        self.rig.start("safety_node", driver)
        self.rig.start("cell_node", driver, *cell_parameters)
        self.rig.start("policy_node", driver, "autostart:=true")

    @property
    def note(self) -> dict[str, float]:
        return json.loads(self.notes[-1].data) if self.notes else {}

    def close(self) -> None:
        self.rig.close()
        self.arm.kill()
        self.arm.wait()
        self.peer.close()


@pytest.fixture
def arm(tmp_path: Path, domain: int) -> Iterator[OwnArm]:
    arm = OwnArm(tmp_path, domain, "homing_speed:=0.6", operators=operators_file(tmp_path))
    yield arm
    arm.close()


def test_it_picks_goes_home_and_picks_the_next(arm: OwnArm) -> None:
    start_robot(arm.peer)
    wait_for(lambda: len(arm.results) >= 1, 40.0)
    wait_for(lambda: sum(r.outcome == msg.EpisodeResult.OUTCOME_SUCCESS for r in arm.results) >= 1, 40.0)
    done = len(arm.results)
    wait_for(lambda: len(arm.results) > done, 40.0)  # home, another piece, and at work again
    assert {r.work.object_class for r in arm.results} == {"box"}
    assert arm.note["refused"] == 0
    assert arm.note["pieces"] >= 2
    # Each piece is followed by a way home; the first may go by before this subscription is found.
    homing = (0, msg.EpisodeState.PHASE_READY)
    wait_for(lambda: homing in [(p.episode, p.phase) for p in list(arm.phases)], 40.0, "a way home through safety")

    # A stop on the way holds for the cell's own motion, too.
    assert stop_robot(arm.peer).success
    heard = len(arm.safety)
    wait_for(lambda: len(arm.safety) > heard + 50)
    stopped = [s.q_rad for s in list(arm.safety)[heard:]]
    assert max(abs(a - b) for q in stopped for a, b in zip(q, stopped[0], strict=True)) < 1e-3
    # Nor does a reset start motion; a restart of any process does not, either.
    assert reset_robot(arm.peer).state.start_required
    for node in ("policy_node", "cell_node", "safety_node"):
        arm.rig.nodes[node].kill()
        arm.rig.start_again(node)
    seen = len(arm.safety)
    wait_for(lambda: len(arm.safety) > seen + 100 and "start_required" in {s.mode for s in list(arm.safety)[seen:]})
    assert {s.mode for s in list(arm.safety)[heard:]} == {"estop", "start_required"}
    start_robot(arm.peer)
    done = len(arm.results)
    wait_for(lambda: len(arm.results) > done, 40.0)
    for name in ("policy_node", "cell_node", "safety_node"):
        arm.rig.nodes[name].end()


def test_a_person_confirms_that_an_object_is_there(tmp_path: Path, domain: int) -> None:
    arm = OwnArm(tmp_path, domain, "object_ready:=confirmed", operators=operators_file(tmp_path))
    try:
        start_robot(arm.peer)
        laying_out = "waits for an object"
        wait_for(lambda: arm.phases and arm.phases[-1].detail == laying_out, 30.0)
        before = time.monotonic()
        wait_for(lambda: time.monotonic() - before > 0.5)
        assert arm.phases[-1].phase == msg.EpisodeState.PHASE_RESETTING
        assert arm.peer.call(Trigger, f"/{ROBOT}/{topics.CELL_READY}", Trigger.Request()).success
        wait_for(lambda: arm.phases[-1].phase == msg.EpisodeState.PHASE_READY)
        assert not arm.peer.call(Trigger, f"/{ROBOT}/{topics.CELL_READY}", Trigger.Request()).success
        first = arm.phases[-1].episode
        # Its result may be missed: DDS can take 3 s until a new publisher has heard of a subscription.
        wait_for(
            lambda: arm.phases[-1].episode > first and arm.phases[-1].detail == laying_out, 60.0, "the next time round"
        )
        assert arm.peer.call(Trigger, f"/{ROBOT}/{topics.CELL_READY}", Trigger.Request()).success
        wait_for(lambda: arm.states[-1].phase == msg.EpisodeState.PHASE_RUNNING, what="a running episode")
        os.kill(arm.arm.pid, signal.SIGSTOP)  # silence: the cell repeats its last state, and the policy gives up
        wait_for(lambda: any(r.outcome == msg.EpisodeResult.OUTCOME_ABORTED for r in arm.results), 20.0)
    finally:
        arm.close()


def test_a_parameter_that_the_node_does_not_have_is_refused_with_those_it_has(tmp_path: Path, domain: int) -> None:
    rig = RobotRig(tmp_path, domain)
    rig.start("cell_node", "homming:=outside")
    cell = rig.nodes["cell_node"]
    wait_for(lambda: cell.process.poll() is not None, 30.0, "its end")
    refused = "unknown parameter 'homming' in /robot_1/cell_node; did you mean 'homing'?"
    assert (cell.process.returncode, cell.text) == (2, f"cell_node: {refused}\n")


def test_a_pose_in_an_unknown_frame_is_named_and_the_arm_waits(tmp_path: Path, domain: int) -> None:
    text = DESCRIPTION.read_text()
    begin, end = text.index("frames:"), text.index("assumed_object:")
    description = tmp_path / "without_frames.yaml"
    description.write_text(text[:begin] + text[end:])
    arm = OwnArm(tmp_path, domain, operators=operators_file(tmp_path), description=description)
    try:
        start_robot(arm.peer)
        wait_for(lambda: arm.states and "left_camera" in arm.states[-1].detail, 30.0, "the frame's name")
        assert (
            "object_pose is refused: the frame 'left_camera' is neither robot_1/left_base nor" in arm.states[-1].detail
        )
        wait_for(lambda: arm.phases and "left_camera" in arm.phases[-1].detail, 30.0, "the cell's reason")
        assert {state.phase for state in arm.states} <= {
            msg.EpisodeState.PHASE_WAITING,
            msg.EpisodeState.PHASE_RESETTING,
        }
        assert not arm.results
        log = arm.rig.nodes["policy_node"].text
        assert 1 <= log.count("object_pose is refused") < 5, log  # once, not for each of them
    finally:
        arm.close()
