"""The central learner: journal in, gradient steps at the pace of arriving data, live weights and candidates out."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import sys
import time
from pathlib import Path

import msgspec
import torch
import zmq

from floop_robot.bundle import Bundle
from floop_robot.core import JournalSource, WeightPublisher
from floop_robot.deploy.peer_secrets import site_secret
from floop_robot.durable.locks import RunLock
from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo
from floop_robot.learn.fleet_settings import fleet_settings
from floop_robot.learn.learner import ContinuousLearner
from floop_robot.learn.make_algorithm import make_algorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services.fleet_manager import baseline_path
from floop_robot.services.learner_control import LearnerControl, PauseRecord, written_ns
from floop_robot.services.main_loop import stop_on_signals
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import Endpoints, FloopConfig, load_config
from floop_robot.spec.errors import ConfigError, FloopError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks import get_task
from floop_robot.stream.journal_follower import JournalFollower, SummaryStart
from floop_robot.transport.listener import Publisher
from floop_robot.transport.zmq_sockets import Context, connect_socket, receive

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.learner"
REPEAT_S = 1.0
"""Weights that stay the same are sent again this often: an explorer that came later has none, and PPO makes no others
before explorers bring rows."""
PAUSED_POLL_S = 0.05
"""How long a paused learner waits for operators before it looks whether it should end."""


class SocketPublisher:
    """Publishes live weights to explorers and candidates to the gate; never waits for a reader."""

    def __init__(self, endpoints: Endpoints, secret: str) -> None:
        """`secret`: the site's, without which the gate takes no candidate.

        Raises `BindError` when the port for live weights is taken.
        """
        self._secret = secret.encode()
        self._context: Context = zmq.Context()
        try:  # explorers want the newest weights only
            self._weights = Publisher(self._context, endpoints.weights, "the learner", queue=2)
        except FloopError:
            self._context.destroy(0)
            raise
        self._gate = connect_socket(self._context, zmq.DEALER, endpoints.gate)
        self._latest, self._sent_s = b"", time.monotonic()
        self.last_candidate = ""
        """Name of the policy offered last; empty before the first."""

    def weights(self, version: int, bundle: Bundle) -> None:
        """Publish live weights under their own version count."""
        stamped = bundle.with_version(version=version, epoch=0, parent=bundle.manifest.parent, certificate=None)
        self._send(stamped.to_bytes())

    def repeat(self) -> None:
        """Send the newest weights again, if the last time is long ago."""
        if self._latest and time.monotonic() - self._sent_s >= REPEAT_S:
            self._send(self._latest)

    def _send(self, weights: bytes) -> None:
        self._latest, self._sent_s = weights, time.monotonic()
        self._weights.send([weights])

    def candidate(self, bundle: Bundle) -> None:
        """Offer a candidate; while the gate is away it is dropped, and the next one comes in seconds."""
        while receive(self._gate):
            pass  # answers are for people who offer by hand: verdicts reach the registry
        try:
            self._gate.send_multipart([self._secret, bundle.to_bytes()], zmq.NOBLOCK)
            self.last_candidate = bundle.manifest.sha256
        except zmq.Again:
            log.info("learner: the gate is away, a candidate was dropped")

    def close(self) -> None:
        """Close the sockets."""
        self._weights.close()
        self._context.destroy(0)


def build_algorithm(config: FloopConfig, task: TaskSpec, checkpoint: Checkpoint, *, resume: bool) -> Algorithm:
    """The algorithm, with the settings that the checkpoint carries and floop.yaml changes; raises `ConfigError`."""
    where = str(Path(config.run_dir) / CHECKPOINT if resume else baseline_path(config).with_suffix(".learner"))
    found = fleet_settings(config.learner, checkpoint.info, where, resume=resume)
    log.info("learner: %s", found.told)
    return make_algorithm(PolicySpace.of(task), found.settings, config.seed, config.learner.device)


def load_start_checkpoint(config: FloopConfig) -> tuple[Checkpoint, bool]:
    """The checkpoint to go on from, and whether it is this very run's (else the one beside the baseline bundle)."""
    own = Path(config.run_dir) / CHECKPOINT
    if own.exists():
        return Checkpoint.load_newest(own), True
    path = baseline_path(config).with_suffix(".learner")
    checkpoint = Checkpoint.load(path)
    if checkpoint.info.algo != config.learner.algo:
        raise ConfigError(
            f"{path} was trained with {checkpoint.info.algo}, learner.algo is {config.learner.algo}; "
            "set baseline to a bundle of that algorithm (floop train --algo ...)"
        )
    return checkpoint, False


def with_process_state(
    status: LearnerStatus, checkpoint: Path, last_candidate: str, pause: PauseRecord | None
) -> LearnerStatus:
    """The learner's status and what only its process knows: pause, checkpoint file, the candidate sent last."""
    written = written_ns(checkpoint)
    whole = msgspec.structs.replace(
        status,
        last_candidate_sha256=last_candidate,
        checkpoint_ns=written,
        checkpoint_path=str(checkpoint.absolute()) if written else "",
    )
    if pause is None:
        return whole
    detail = f"paused by {pause.who}{': ' if pause.why else ''}{pause.why}"
    return msgspec.structs.replace(whole, state=LearnerState.PAUSED, detail=detail)


def run(config: FloopConfig) -> None:
    """Learn until SIGINT or SIGTERM; raises `FloopError` when port or checkpoint can't be used."""
    stop = stop_on_signals()
    torch.set_num_threads(1)
    operators = OperatorTokens(Path(config.operators) if config.operators else None)
    folder = Path(config.run_dir)
    stats: StatsFile[LearnerStatus] = StatsFile(folder, "learner")
    checkpoint, resume = load_start_checkpoint(config)
    with contextlib.ExitStack() as opened:
        opened.callback(RunLock(folder).release)  # operators may command it while no fleet manager runs
        publisher = SocketPublisher(config.endpoints, site_secret(folder))
        opened.callback(publisher.close)
        control = LearnerControl(config.endpoints.learner, folder, operators)
        opened.callback(control.close)
        tail = _follow_journal(config, checkpoint.info if resume else None)
        opened.callback(tail.close)
        learner = _make_learner(config, checkpoint, tail, publisher, resume=resume)
        learner.start_from(checkpoint, resume=resume)
        steps = checkpoint.info.gradient_steps
        log.info("learner: %s, %d gradient steps so far", "resumed" if resume else "started", steps)

        def status() -> LearnerStatus:
            pause = control.pause_record
            return with_process_state(learner.status, folder / CHECKPOINT, publisher.last_candidate, pause)

        while not stop.is_set():
            control.serve(status, learner.checkpoint, wait_s=PAUSED_POLL_S if control.pause_record else 0.0)
            if control.pause_record is None:
                learner.step()
            publisher.repeat()
            stats.write(status())
        learner.checkpoint()
        stats.write(status(), force=True)


def _follow_journal(config: FloopConfig, resumed: CheckpointInfo | None) -> JournalFollower:
    """The journal's newest transitions, or all from where a resumed learner rebuilds its replay."""
    if resumed is None:
        start = SummaryStart(lambda summary, through: None, recent=True)
        return JournalFollower(config.endpoints.tail, start=start)
    return JournalFollower(config.endpoints.tail, after=resumed.replay_from, journal_id=resumed.journal_id)


def _make_learner(
    config: FloopConfig, checkpoint: Checkpoint, source: JournalSource, publisher: WeightPublisher, *, resume: bool
) -> ContinuousLearner:
    rules = get_task(config.task)
    ids = ids_of(rules, load_robot(config.robot.model))
    algorithm = build_algorithm(config, rules.spec, checkpoint, resume=resume)
    path = Path(config.run_dir) / CHECKPOINT
    return ContinuousLearner(config.learner, rules.spec, ids, algorithm, source, publisher, path)


def main(argv: list[str] | None = None) -> int:
    """Run the learner; raises `FloopError` for what a user can correct."""
    parser = argparse.ArgumentParser(prog="learner", description=__doc__)
    parser.add_argument("--config", type=Path, help="YAML file; defaults otherwise")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run(load_config(arguments.config))
    gc.freeze()  # freeing torch's objects one by one would delay the exit by a second
    return 0
