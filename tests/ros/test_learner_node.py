"""The learner's node: status, pause and checkpoint; the learner below it killed, and killed with it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from conditions import wait_for
from reasons import NO_ROS

pytest.importorskip("rclpy", reason=NO_ROS)
pytest.importorskip("stable_baselines3", reason="needs floop-robot[learn]")

from fleet_rig import WHO, FleetRig

from floop_interfaces import msg, srv
from floop_policies import baseline
from floop_robot.nodes import topics
from floop_robot.nodes.qos import LATCHED
from floop_robot.processes.fleet import write_config

START_S = 60.0


@pytest.fixture
def fleet(tmp_path: Path, domain: int) -> Iterator[FleetRig]:
    rig = FleetRig(tmp_path, domain)
    # The shipped baseline has a learner's checkpoint beside it.
    rig.config = msgspec.structs.replace(rig.config, baseline=str(baseline(rig.config.task)))
    rig.config_file = write_config(rig.config)
    yield rig
    rig.close()


def learner_below(pid: int) -> psutil.Process | None:
    return next((p for p in psutil.Process(pid).children(recursive=True) if "learner" in p.cmdline()), None)


def test_pause_checkpoint_and_a_killed_learner(fleet: FleetRig) -> None:
    fleet.start_manager()
    node = fleet.start("learner_node", "/learner")
    heard = fleet.peer.listen(msg.LearnerStatus, topics.LEARNER_STATUS, LATCHED)
    wait_for(lambda: heard and heard[-1].state == "waiting", START_S, "the learner")
    assert heard[0].state == "starting"
    assert (heard[-1].algo, heard[-1].task) == ("sac", "floop/Pick-v0") and heard[-1].gradient_steps > 0

    refused = fleet.ask(srv.PauseLearner, topics.PAUSE_LEARNER, pause=True, who=WHO, token="guess")
    assert not refused.success and "no valid operator token" in refused.message
    paused = fleet.order(srv.PauseLearner, topics.PAUSE_LEARNER, pause=True, why="new tote", call_id="p1")
    assert paused.success and paused.status.state == "paused"
    assert (paused.record.who, paused.record.what, paused.record.detail) == (WHO, "paused the learner", "new tote")
    assert paused.record.epoch == 1  # the fleet manager wrote it down
    assert fleet.state().audit[-1].what == "paused the learner"
    wait_for(lambda: heard[-1].state == "paused")
    assert heard[-1].detail == "paused by ann: new tote"

    written = fleet.order(srv.CheckpointLearner, topics.CHECKPOINT_LEARNER)
    assert written.success and Path(written.path).stat().st_size > 10_000
    assert written.gradient_steps == heard[-1].gradient_steps
    assert not fleet.ask(srv.CheckpointLearner, topics.CHECKPOINT_LEARNER, who="bob").success

    learner = learner_below(node.process.pid)
    assert learner is not None
    learner.send_signal(signal.SIGKILL)
    killed = time.time()

    def back() -> bool:
        last = heard[-1]
        return last.state == "paused" and last.header.stamp.sec > killed + 1

    wait_for(back, START_S, "the learner's successor, paused still")
    assert fleet.order(srv.PauseLearner, topics.PAUSE_LEARNER, pause=False).status.state == "waiting"
    assert node.end() < 3.0
    assert not psutil.pid_exists(learner.pid)


def test_a_node_that_is_killed_takes_the_learner_along_and_its_successor_waits_for_that(fleet: FleetRig) -> None:
    node = fleet.start("learner_node", "/learner")
    heard = fleet.peer.listen(msg.LearnerStatus, topics.LEARNER_STATUS, LATCHED)
    wait_for(lambda: heard and heard[-1].state == "waiting", START_S, "the learner")
    learner = learner_below(node.process.pid)
    assert learner is not None
    node.process.send_signal(signal.SIGKILL)
    node.process.wait()
    successor = fleet.start("learner_node", "/learner")
    wait_for(lambda: not learner.is_running(), 10.0, "the end of the first learner")
    wait_for(lambda: learner_below(successor.process.pid), START_S, "the second learner")
    # Nobody wrote an audit: there is no fleet manager.
    done = wait_for(lambda: _paused(fleet), START_S, "an answer of the second learner")
    assert done.record.epoch == 0 and done.record.who == WHO
    successor.end()


def _paused(fleet: FleetRig) -> srv.PauseLearner.Response | None:
    answer = fleet.order(srv.PauseLearner, topics.PAUSE_LEARNER, pause=True)
    return answer if answer.success else None


def test_without_supervision_a_learner_that_is_not_there_is_down(fleet: FleetRig) -> None:
    node = fleet.start("learner_node", "/learner", "supervise:=false")
    heard = fleet.peer.listen(msg.LearnerStatus, topics.LEARNER_STATUS, LATCHED)
    wait_for(lambda: heard, START_S, "the first status")
    assert learner_below(node.process.pid) is None
    answer = fleet.order(srv.PauseLearner, topics.PAUSE_LEARNER, pause=True)
    assert not answer.success and "start it" in answer.message and "\n" not in answer.message
    wait_for(lambda: heard[-1].state == "down", START_S, "state down")
    assert "has not answered for" in heard[-1].detail
    node.end()


def test_a_learner_that_cannot_work_ends_the_node_in_its_one_line(fleet: FleetRig) -> None:
    (Path(fleet.config.run_dir) / "checkpoint.learner").write_bytes(b"no checkpoint")
    node = fleet.start("learner_node", "/learner")
    assert node.process.wait(START_S) == 2
    assert "no whole checkpoint" in node.text and node.text.startswith("learner_node: ")
