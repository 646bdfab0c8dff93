"""The central learner: journal in, gradient steps at the pace of arriving data, live weights and candidates out."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import sys
from pathlib import Path

import torch
import zmq

from floop_robot.bundle import Bundle
from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.learn.learner import ContinuousLearner, LearnerStatus
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.settings import PpoSettings, SacSettings
from floop_robot.learn.spaces import PolicySpace
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services.fleet_manager import baseline_path
from floop_robot.services.learner_client import LearnerReport, LearnerState
from floop_robot.services.learner_control import LearnerControl, PauseRecord, written_ns
from floop_robot.services.main_loop import stop_on_signals
from floop_robot.services.supervision.stats_file import StatsFile
from floop_robot.spec.config import Endpoints, FloopConfig, LearnerConfig, load_config
from floop_robot.spec.errors import ConfigError, FloopError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks import get_task
from floop_robot.stream.tail_client import TailClient
from floop_robot.transport.zmq_sockets import Context, bind_socket, connect_socket, receive

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.learner"
PAUSED_POLL_S = 0.05
"""How long a paused learner waits for operators before it looks whether it should end."""


class SocketPublisher:
    """Live weights to whoever listens, candidates to the gate; neither ever waits for its reader."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Raises `BindError` when the port for live weights is taken."""
        self._context: Context = zmq.Context()
        try:  # explorers want the newest weights only
            self._weights = bind_socket(self._context, zmq.PUB, endpoints.weights, "the learner", queue=2)
        except FloopError:
            self._context.destroy(0)
            raise
        self._gate = connect_socket(self._context, zmq.DEALER, endpoints.gate)
        self.last_candidate = ""
        """SHA-256 of the weights offered last; empty before the first."""

    def weights(self, version: int, bundle: Bundle) -> None:
        """Publish live weights under their own version count."""
        stamped = bundle.with_version(version=version, epoch=0, parent=bundle.manifest.parent, certificate=None)
        self._weights.send(stamped.to_bytes(), zmq.NOBLOCK)

    def candidate(self, bundle: Bundle) -> None:
        """Offer a candidate; while the gate is away it is dropped, and the next one comes in seconds."""
        while receive(self._gate):
            pass  # answers are for people who offer by hand: verdicts reach the registry
        try:
            self._gate.send(bundle.to_bytes(), zmq.NOBLOCK)
            self.last_candidate = bundle.manifest.sha256
        except zmq.Again:
            log.info("learner: the gate is away, a candidate was dropped")

    def close(self) -> None:
        """Close the sockets."""
        self._context.destroy(0)


def build_algorithm(config: FloopConfig, task: TaskSpec, hidden: tuple[int, ...]) -> Algorithm:
    """The algorithm the configuration asks for, with networks of the checkpoint's shape."""
    space, learner = PolicySpace.of(task), config.learner
    if learner.algo == "ppo":
        return PpoAlgorithm(space, PpoSettings(hidden=hidden), config.seed, learner.staleness_versions)
    return SacAlgorithm(space, sac_settings(learner, hidden), config.seed)


def sac_settings(learner: LearnerConfig, hidden: tuple[int, ...]) -> SacSettings:
    """How a fleet's SAC learns."""
    return SacSettings(
        hidden=hidden,
        prior_fraction=learner.prior_fraction,
        updates_per_new=learner.updates_per_transition,
        imitation_weight=learner.imitation_weight,
        actor_uses_target_critics=learner.actor_uses_target_critics,
        settled_lr_factor=learner.settled_lr_factor,
    )


def load_start_checkpoint(config: FloopConfig) -> tuple[Checkpoint, bool]:
    """The checkpoint to go on from, and whether it is this very run's (else the one beside the baseline bundle)."""
    own = Path(config.run_dir) / CHECKPOINT
    if own.exists():
        return Checkpoint.load(own), True
    path = baseline_path(config).with_suffix(".learner")
    checkpoint = Checkpoint.load(path)
    if checkpoint.info.algo != config.learner.algo:
        raise ConfigError(
            f"{path} was trained with {checkpoint.info.algo}, learner.algo is {config.learner.algo}; "
            "set baseline to a bundle of that algorithm (floop train --algo ...)"
        )
    return checkpoint, False


def make_report(
    status: LearnerStatus, config: FloopConfig, publisher: SocketPublisher, pause_record: PauseRecord | None, replay_rebuilt_to: int
) -> LearnerReport:
    """What the learner tells operators; `replay_rebuilt_to`: up to there, the journal is read to rebuild replay."""
    progress, rows = status.progress, status.rows
    state = LearnerState.LEARNING if status.owed else LearnerState.WAITING
    if status.position < replay_rebuilt_to:
        state = LearnerState.STARTING
    if pause_record is not None:
        state = LearnerState.PAUSED
    path = Path(config.run_dir) / CHECKPOINT
    written = written_ns(path)
    return LearnerReport(
        state=state,
        algo=config.learner.algo,
        task=config.task,
        gradient_steps=progress.gradient_steps,
        robot_rows=rows.robot,
        explorer_rows=rows.explorer,
        demonstration_rows=rows.demonstration,
        foreign_rows=rows.foreign,
        dropped_rows=rows.dropped,
        stale_rows=progress.stale_rows,
        steps_per_s=status.steps_per_s,
        updates_per_transition=config.learner.updates_per_transition,
        owed=status.owed,
        journal_block=status.position,
        actor_loss=progress.actor_loss,
        critic_loss=progress.critic_loss,
        alpha=progress.alpha,
        entropy=progress.entropy,
        latency_p50_s=status.latency_p50_s,
        latency_p99_s=status.latency_p99_s,
        latency_implausible=status.latency_implausible,
        weights_version=status.weights_version,
        candidates=status.candidates,
        last_candidate_sha256=publisher.last_candidate,
        checkpoint_ns=written,
        checkpoint_path=str(path.absolute()) if written else "",
        detail=f"paused by {pause_record.who}{': ' if pause_record.why else ''}{pause_record.why}" if pause_record else "",
    )


def run(config: FloopConfig) -> None:
    """Learn until SIGINT or SIGTERM; raises `FloopError` when port or checkpoint can't be used."""
    stop = stop_on_signals()
    torch.set_num_threads(1)
    rules = get_task(config.task)
    ids = ids_of(rules, load_robot(config.robot.model))
    operators = OperatorTokens(Path(config.operators) if config.operators else None)
    checkpoint, resume = load_start_checkpoint(config)
    info = checkpoint.info
    tail = TailClient(
        config.endpoints.tail,
        after=info.replay_from if resume else 0,
        journal_id=info.journal_id if resume else "",
    )
    publisher = SocketPublisher(config.endpoints)
    stats: StatsFile[LearnerStatus] = StatsFile(Path(config.run_dir), "learner")
    with contextlib.ExitStack() as opened:
        opened.callback(tail.close)
        opened.callback(publisher.close)
        control = LearnerControl(config.endpoints.learner, Path(config.run_dir), operators)
        opened.callback(control.close)
        learner = ContinuousLearner(
            config.learner,
            rules.spec,
            ids,
            build_algorithm(config, rules.spec, info.hidden),
            tail,
            publisher,
            Path(config.run_dir) / CHECKPOINT,
        )
        learner.start_from(checkpoint, resume=resume)
        log.info("learner: %s, %d gradient steps so far", "resumed" if resume else "started", info.gradient_steps)

        def report() -> LearnerReport:
            return make_report(learner.status, config, publisher, control.pause_record, info.trained_to if resume else 0)

        while not stop.is_set():
            control.serve(report, learner.checkpoint, wait_s=PAUSED_POLL_S if control.pause_record else 0.0)
            if control.pause_record is None:
                learner.step()
            stats.write(learner.status)
        learner.checkpoint()
        stats.write(learner.status, force=True)


def main(argv: list[str] | None = None) -> int:
    """Run the learner; errors that a user can mend are raised as `FloopError`."""
    parser = argparse.ArgumentParser(prog="learner", description=__doc__)
    parser.add_argument("--config", type=Path, help="YAML file; defaults otherwise")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run(load_config(arguments.config))
    gc.freeze()  # taking torch apart object by object would keep whoever waits for the end for a second
    return 0


