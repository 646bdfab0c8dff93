"""One robot of real nodes in a fleet: policies from the fleet manager's node, records and labels to ingest."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.services.supervision.ros_domain import reserved_domain
from tests.support.ros.skip_reasons import NO_INTERFACES, NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
if importlib.util.find_spec("floop_interfaces.msg._audit_entry") is None:
    pytest.skip(NO_INTERFACES, allow_module_level=True)

from floop_interfaces.msg import EpisodeResult, EpisodeState, FleetState, PolicyStatus
from floop_interfaces.srv import DrainRobot, PushPolicy
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.spec.records import EpisodeEnd, Label, Record
from floop_robot.stream.tail_client import TailClient
from tests.support.ros.peer import Peer
from tests.support.ros.recorded_robot import Robot
from tests.support.ros.robot_rig import ROBOT, NodeProcess, RobotRig


class Fleet:
    """A robot, the fleet manager's node, and ingest."""

    def __init__(self, robot: Robot) -> None:
        self.robot, self.rig = robot, robot.rig
        self._ingest = subprocess.Popen(
            [sys.executable, "-m", "floop_robot.services.entry", "ingest", "--config", str(self.rig.config_file)],
            start_new_session=True,
        )
        given = ["-r", "__ns:=/fleet", "-p", f"config:={self.rig.config_file}"]
        self.manager = NodeProcess("fleet_manager_node", given, self.rig.domain, self.rig.run_dir / "manager.log")
        self._tail = TailClient(self.rig.config.endpoints.tail)
        self._records: list[Record] = []

    def journal(self) -> list[Record]:
        """Everything that ingest has from the robot."""
        for found in self._tail.poll(0.2):
            self._records += found.block.records()
        return self._records

    def close(self) -> None:
        self._tail.close()
        self._ingest.send_signal(signal.SIGINT)
        self._ingest.wait(10.0)
        self.manager.kill()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with reserved_domain() as domain:
        rig, peer = RobotRig(tmp_path_factory.mktemp("fleet"), domain), Peer(domain)
        fleet = Fleet(Robot(rig, peer))
        try:
            rig.start_arm()
            rig.start("policy_node", "autostart:=true")
            yield fleet
        finally:
            fleet.close()
            peer.close()
            rig.close()


def test_the_robot_works_on_what_the_fleet_manager_has_and_follows_it(fleet: Fleet) -> None:
    status = fleet.robot.status
    wait_for(lambda: status and status[-1].stage == "acting" and status[-1].manager_linked, 30.0, "a first policy")
    first = status[-1].version
    request = PushPolicy.Request(version=first, who="ann", why="once more", wait_s=10.0)
    answer = fleet.robot.peer.call(PushPolicy, topics.PUSH_POLICY, request, 20.0)
    assert answer.success, answer.message
    wait_for(lambda: (status[-1].version, status[-1].stage) == (answer.version, "acting"), what="the new version")
    latest = status[-1]
    assert (latest.previous_version, latest.stage, latest.robot) == (first, "acting", ROBOT)
    assert {s.sha256 for s in status if s.version} == {latest.sha256}  # the same bytes
    assert latest.epoch >= 1


def test_records_and_labels_reach_the_journal(fleet: Fleet) -> None:
    robot = fleet.robot
    wait_for(lambda: robot.results, 30.0, "an episode")
    result = robot.results[-1]
    request = {"episode": result.episode, "episode_success": False, "comment": "broken", "token": ""}
    assert robot.label(**request).success
    (label,) = wait_for(lambda: [r for r in fleet.journal() if isinstance(r, Label)], what="the label")
    assert (label.episode, label.episode_boot_id, label.success) == (result.episode, result.boot_id, False)
    (end,) = [r for r in fleet.journal() if isinstance(r, EpisodeEnd) and r.episode == result.episode]
    assert (end.outcome, end.steps, end.policy_version) == (result.outcome, result.steps, result.policy_version)
    assert end.truth is not None  # from the simulator alone, for reports


def test_each_drain_is_taken_back_where_it_was_given(fleet: Fleet) -> None:
    robot = fleet.robot
    robot.wait_phase("running", 30.0)
    request = DrainRobot.Request(robot=ROBOT, drain=True, wait_s=20.0, who="ann")
    answer = robot.peer.call(DrainRobot, topics.DRAIN_ROBOT, request, 30.0)
    assert answer.success, answer.message
    assert answer.idle
    wait_for(lambda: "drained by the fleet manager" in robot.state.detail, what="the reason")
    ended = robot.results[-1]  # busy cores may abort an episode, a drain must not
    assert ended.outcome != EpisodeResult.OUTCOME_ABORTED or "too old" in ended.detail
    refusal = robot.drain(False, token="")
    assert not refusal.success
    assert "/fleet/drain_robot" in refusal.message
    assert robot.drain(True, token="").success
    request = DrainRobot.Request(robot=ROBOT, drain=False, who="ann")
    assert robot.peer.call(DrainRobot, topics.DRAIN_ROBOT, request, 30.0).success
    wait_for(lambda: "drained here" in robot.state.detail, what="the other reason")
    assert robot.drain(False, token="").success
    robot.wait_phase("running")


def test_a_second_host_with_this_name_is_refused_where_people_look(fleet: Fleet, tmp_path: Path) -> None:
    wait_for(lambda: fleet.robot.status and fleet.robot.status[-1].manager_linked, 30.0, "the first")
    with reserved_domain() as domain:
        rig, peer = RobotRig(tmp_path / "second", domain), Peer(domain)
        rig.config = msgspec.structs.replace(rig.config, endpoints=fleet.rig.config.endpoints)
        rig.config_file = write_config(rig.config)
        rig.install()  # it could work at once
        heard = peer.listen(PolicyStatus, f"/{ROBOT}/{topics.POLICY_STATUS}", LATCHED)
        states = peer.listen(EpisodeState, f"/{ROBOT}/{topics.EPISODE_STATE}", LATCHED)
        fleets = fleet.robot.peer.listen(FleetState, topics.FLEET_STATE, LATCHED)
        try:
            node = rig.start("policy_node", "autostart:=true")
            wait_for(lambda: heard and heard[-1].name_refused, 30.0, "the refusal")
            assert heard[-1].name_refused.startswith(f"the name {ROBOT} is in use by ")
            assert str(fleet.rig.run_dir) in heard[-1].name_refused
            wait_for(lambda: states and "is in use by" in states[-1].detail, what="why no episode starts")
            assert "the fleet manager refuses this robot: the name" in node.text
            wait_for(lambda: fleets and str(tmp_path / "second") in fleets[-1].robots[0].duplicate, what="both")
            assert str(fleet.rig.run_dir) in fleets[-1].robots[0].host
            assert fleet.robot.status[-1].name_refused == ""
        finally:
            rig.close()
            peer.close()


def test_killed_it_goes_on_with_what_it_had_while_the_fleet_manager_is_away(fleet: Fleet) -> None:
    robot = fleet.robot
    robot.wait_phase("running", 30.0)
    version, count = robot.status[-1].version, len(robot.results)
    fleet.manager.kill()
    os.kill(fleet.rig.nodes["policy_node"].process.pid, signal.SIGKILL)
    fleet.rig.nodes["policy_node"].kill()
    node = fleet.rig.start("policy_node", "autostart:=true")
    wait_for(lambda: len(robot.results) > count, 30.0, "an episode of the new process")
    assert robot.results[-1].policy_version == version
    wait_for(lambda: not robot.status[-1].manager_linked, what="the word that nobody answers")
    node.end()
