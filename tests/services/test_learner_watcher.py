"""A learner seen from outside: its real control port answers, falls silent, or is taken."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services import learner_watcher
from floop_robot.services.learner_control import LearnerControl
from floop_robot.services.learner_watcher import LearnerWatcher, supervise_learner
from floop_robot.services.supervision.ports import wait_until_free
from floop_robot.spec.config import Endpoints, FloopConfig
from floop_robot.spec.errors import ConfigError
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

LEARNING = LearnerStatus(state=LearnerState.LEARNING, algo="sac", task="floop/Pick-v0", gradient_steps=7)


@pytest.fixture
def config(tmp_path: Path) -> FloopConfig:
    return FloopConfig(run_dir=str(tmp_path), endpoints=Endpoints(base_port=free_base_port()))


@pytest.fixture
def learner(config: FloopConfig) -> Iterator[threading.Event]:
    """A learner that answers until the event is set."""
    stop, control = (
        threading.Event(),
        LearnerControl(config.endpoints.learner, Path(config.run_dir), OperatorTokens(None)),
    )

    def serve() -> None:
        while not stop.is_set():
            control.serve(lambda: LEARNING, lambda: None, wait_s=0.05)
        control.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_it_is_starting_then_down_while_nobody_answers(config: FloopConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_watcher, "ANSWER_S", 0.1)
    seen = list[LearnerStatus]()
    with LearnerWatcher(config, 1.5, seen.append) as watcher:
        assert watcher.status.state is LearnerState.STARTING
        wait_for(lambda: seen and seen[-1].state is LearnerState.DOWN)
    assert [s.state for s in seen[:1]] == [LearnerState.STARTING]
    assert seen[-1].detail.startswith("has not answered for ")
    assert (seen[-1].algo, seen[-1].task) == (config.learner.algo, config.task)


def test_it_reports_what_the_learner_answers_and_its_silence(
    config: FloopConfig, learner: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_watcher, "ANSWER_S", 0.5)
    seen = list[LearnerStatus]()
    with LearnerWatcher(config, 30.0, seen.append) as watcher:
        assert wait_for(lambda: seen and seen[-1]).gradient_steps == 7
        learner.set()
        wait_for(lambda: watcher.status.state is LearnerState.DOWN)  # it has answered: no grace any more
        watcher.stop()


def test_a_taken_port_is_waited_for_and_refused_in_one_line(
    config: FloopConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_watcher, "PORT_FREE_S", 0.2)
    host, port = config.endpoints.learner.removeprefix("tcp://").rsplit(":", 1)
    with socket.socket() as other:
        other.bind((host, int(port)))
        other.listen()
        with pytest.raises(ConfigError, match=f"port {config.endpoints.learner} is taken; stop the learner"):
            supervise_learner(config, "", threading.Event())
        stop = threading.Event()
        stop.set()
        assert wait_until_free(config.endpoints.learner, 30.0, stop)  # nobody wants to know any more
    assert wait_until_free(config.endpoints.learner, 5.0, threading.Event())
    assert not supervise_learner(config, "", threading.Event()).restarts
