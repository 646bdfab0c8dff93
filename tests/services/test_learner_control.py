"""The learner as a real process, asked and ordered about; its journal comes from a real ingest."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.learn.status import LearnerState
from floop_robot.services.learner_client import LearnerClient, Pause, WriteCheckpoint
from floop_robot.spec.config import Endpoints, FloopConfig, LearnerConfig, save_config
from floop_robot.transport.rpc_client import Refused, Unreachable
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

ROOT = Path(__file__).parents[2]


class Learner:
    """A learner process with folder and ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "operators.yaml").write_text(f"tokens:\n  ann: {hashlib.sha256(b'secret').hexdigest()}\n")
        self.config = FloopConfig(
            run_dir=str(folder / "run"),
            operators=str(folder / "operators.yaml"),
            endpoints=Endpoints(base_port=free_base_port()),
            learner=LearnerConfig(checkpoint_interval_s=1000.0),
        )
        self.process = self.start()
        self.client = LearnerClient(self.config.endpoints.learner, timeout_s=60.0)

    def start(self) -> subprocess.Popen[bytes]:
        Path(self.config.run_dir).mkdir(exist_ok=True)
        save_config(self.config, self.folder / "floop.yaml")
        paths = os.pathsep.join([str(ROOT), str(ROOT / "envs"), str(ROOT / "policies")])
        command = [sys.executable, "-m", "floop_robot.services.entry", "learner"]
        self.process = subprocess.Popen(
            [*command, "--config", str(self.folder / "floop.yaml")],
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        return self.process

    def end(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def learner(tmp_path):
    made = Learner(tmp_path)
    yield made
    made.end()


def test_an_operator_pauses_checkpoints_and_lets_it_go_on(learner):
    started = learner.client.status()
    assert (started.state, started.algo, started.task) == (LearnerState.WAITING, "sac", "floop/Pick-v0")
    assert started.gradient_steps > 0 and started.detail == ""  # of the shipped checkpoint

    refused = Pause(who="ann", token="wrong", pause=True)
    with pytest.raises(Refused, match="no valid operator token"):
        learner.client.send_command(refused)
    assert learner.client.status().state is LearnerState.WAITING

    before_ns = time.time_ns()
    paused = learner.client.send_command(Pause(who="ann", token="secret", why="new gripper", pause=True))
    assert (paused.done.who, paused.done.what, paused.done.detail) == ("ann", "paused the learner", "new gripper")
    assert before_ns < paused.done.stamp_ns < time.time_ns()
    assert (paused.status.state, paused.status.detail) == (LearnerState.PAUSED, "paused by ann: new gripper")

    learner.process.send_signal(signal.SIGKILL)
    learner.process.wait()
    learner.start()
    assert learner.client.status().state is LearnerState.PAUSED  # a restart is no permission to go on

    command = WriteCheckpoint(who="ann", token="secret")
    written = learner.client.send_command(command)
    path = Path(written.status.checkpoint_path)
    assert Checkpoint.load(path).info.gradient_steps == written.status.gradient_steps
    assert written.status.checkpoint_ns == path.stat().st_mtime_ns
    stamp_ns = path.stat().st_mtime_ns
    assert learner.client.send_command(command).done == written.done  # repeated after a lost answer: one effect
    assert path.stat().st_mtime_ns == stamp_ns

    with pytest.raises(Refused, match="is that of another call"):
        learner.client.send_command(Pause(who="ann", token="secret", call_id=command.call_id, pause=False))

    gone_on = learner.client.send_command(Pause(who="ann", token="secret", pause=False))
    assert gone_on.status.state is LearnerState.WAITING
    learner.process.send_signal(signal.SIGINT)
    assert learner.process.wait(10) == 0
    learner.start()
    assert learner.client.status().state is LearnerState.WAITING


def test_a_checkpoint_that_cannot_be_written_is_one_line(learner):
    learner.client.status()
    # A folder in its place: even root can't replace that by a file.
    (Path(learner.config.run_dir) / "checkpoint.learner" / "x").mkdir(parents=True)
    with pytest.raises(Refused) as info:
        learner.client.send_command(WriteCheckpoint(who="ann", token="secret"))
    assert "checkpoint.learner" in str(info.value) and "\n" not in str(info.value)
    wait_for(lambda: learner.client.status().state is LearnerState.WAITING)


def test_nobody_there_is_one_line():
    client = LearnerClient(f"tcp://127.0.0.1:{free_base_port()}", timeout_s=0.2)
    with client, pytest.raises(Unreachable, match="start it"):
        client.status()
