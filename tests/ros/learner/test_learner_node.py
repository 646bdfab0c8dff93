"""The learner's node: status, pause and checkpoint; the learner below it killed, and killed with it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from tests.support.ros.skip_reasons import NO_ROS
from tests.support.waiting import wait_for

pytest.importorskip("rclpy", reason=NO_ROS)
pytest.importorskip("stable_baselines3", reason="needs the extra `learn`")

from floop_interfaces import msg, srv
from floop_policies import baseline
from floop_robot.ros.node import topics
from floop_robot.ros.node.qos import LATCHED
from floop_robot.services.supervision.fleet_description import write_config
from tests.support.operator_tokens import WHO
from tests.support.ros.fleet_rig import FleetRig

START_S = 60.0


@pytest.fixture
def fleet(tmp_path: Path, domain: int) -> Iterator[FleetRig]:
    rig = FleetRig(tmp_path, domain)
    # The shipped baseline has a learner's checkpoint beside it.
    rig.config = msgspec.structs.replace(rig.config, baseline=str(baseline(rig.config.task)))
    rig.config_file = write_config(rig.config)
    yield rig
    rig.close()


def learner_below(pid: int, but: int = 0) -> psutil.Process | None:
    """The learner process that the node has started, if one lives (and is not `but`)."""
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # just ended, or not waited for yet
            if "learner" in process.cmdline() and process.pid != but:
                return process
    return None


def test_pause_checkpoint_kills_and_the_end(fleet: FleetRig) -> None:
    manager = fleet.start_manager()
    node = fleet.start("learner_node", "/learner")
    heard = fleet.peer.listen(msg.LearnerStatus, topics.LEARNER_STATUS, LATCHED)
    wait_for(lambda: heard and heard[-1].state == "waiting", START_S, "the learner")
    # Latched: whoever joins late hears the last one only. On a busy machine a start may outlast its grace: "down".
    assert {m.state for m in heard} <= {"starting", "down", "waiting"}
    assert (heard[-1].algo, heard[-1].task) == ("sac", "floop/Pick-v0") and heard[-1].gradient_steps > 0

    refused = fleet.ask(srv.PauseLearner, topics.PAUSE_LEARNER, pause=True, who=WHO, token="guess")
    assert not refused.success and "no valid operator token" in refused.message
    paused = fleet.order(srv.PauseLearner, topics.PAUSE_LEARNER, pause=True, why="new tote")
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

    first = learner_below(node.process.pid)
    assert first is not None
    first.send_signal(signal.SIGKILL)
    second = wait_for(lambda: learner_below(node.process.pid, first.pid), START_S, "the learner's successor")
    killed = time.time()
    wait_for(lambda: heard[-1].state == "paused" and heard[-1].header.stamp.sec > killed + 1, START_S, "paused still")

    # The node killed: it takes the learner along, and its successor waits for that before it starts another.
    node.process.send_signal(signal.SIGKILL)
    node.process.wait()
    manager.kill()
    node = fleet.start("learner_node", "/learner")
    wait_for(lambda: not second.is_running(), 10.0, "the end of the killed node's learner")
    third = wait_for(lambda: learner_below(node.process.pid), START_S, "the third learner")
    going = wait_for(lambda: _going_on(fleet), START_S, "an answer of the third learner")
    assert going.status.state == "waiting"
    assert (going.record.who, going.record.epoch) == (WHO, 0)  # nobody was there to audit it
    node.end()
    assert not third.is_running()


def _going_on(fleet: FleetRig) -> srv.PauseLearner.Response | None:
    answer = fleet.order(srv.PauseLearner, topics.PAUSE_LEARNER, pause=False)
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
