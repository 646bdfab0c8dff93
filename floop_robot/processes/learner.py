"""The central learner: journal in, gradient steps at the pace of arriving data, live weights and candidates out."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

import torch
import zmq

from floop_robot.bundle import Bundle
from floop_robot.learn.checkpoint import Checkpoint
from floop_robot.learn.learner import ContinuousLearner, LearnerStatus
from floop_robot.learn.ppo_trainee import PpoTrainee
from floop_robot.learn.sac_trainee import SacTrainee
from floop_robot.learn.settings import PpoSettings, SacSettings
from floop_robot.learn.spaces import PolicySpace
from floop_robot.learn.trainee import Trainee
from floop_robot.processes.driving import stop_on_signals
from floop_robot.processes.fleet_manager import baseline_path
from floop_robot.processes.stats import StatsFile
from floop_robot.spec.config import Endpoints, FloopConfig, load_config
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.task import TaskSpec
from floop_robot.spec.tasks import get_task
from floop_robot.stream.tail_client import TailClient
from floop_robot.stream.wire import PortError, client_socket

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.learner"


class SocketOutlet:
    """Live weights to whoever listens, candidates to the gate; neither ever waits for its reader."""

    def __init__(self, endpoints: Endpoints) -> None:
        """Raises `PortError` when the port for live weights is taken."""
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._weights = self._context.socket(zmq.PUB)
        self._weights.setsockopt(zmq.LINGER, 0)
        self._weights.setsockopt(zmq.SNDHWM, 2)  # explorers want the newest weights only
        try:
            self._weights.bind(endpoints.weights)
        except zmq.ZMQError as error:
            self._context.destroy(0)
            raise PortError(
                f"the learner cannot listen on {endpoints.weights}: {error}; is another fleet running there?"
            ) from None
        self._gate = client_socket(self._context, endpoints.gate)

    def weights(self, version: int, bundle: Bundle) -> None:
        """Publish live weights under their own version count."""
        stamped = bundle.stamped(version=version, epoch=0, parent=bundle.manifest.parent, certificate=None)
        self._weights.send(stamped.to_bytes(), zmq.NOBLOCK)

    def candidate(self, bundle: Bundle) -> None:
        """Offer a candidate; while the gate is away it is dropped, and the next one comes in seconds."""
        while self._gate.poll(0):
            self._gate.recv_multipart()  # answers are for people who offer by hand: verdicts reach the registry
        try:
            self._gate.send(bundle.to_bytes(), zmq.NOBLOCK)
        except zmq.Again:
            log.info("learner: the gate is away, a candidate was dropped")

    def close(self) -> None:
        """Close the sockets."""
        self._context.destroy(0)


def build_trainee(config: FloopConfig, task: TaskSpec, hidden: tuple[int, ...]) -> Trainee:
    """The algorithm the configuration asks for, with networks of the checkpoint's shape."""
    space, learner = PolicySpace.of(task), config.learner
    if learner.algo == "ppo":
        return PpoTrainee(space, PpoSettings(hidden=hidden), config.seed, learner.staleness_versions)
    settings = SacSettings(
        hidden=hidden, prior_fraction=learner.old_fraction, updates_per_fresh=learner.updates_per_transition
    )
    return SacTrainee(space, settings, config.seed)


def starting_point(config: FloopConfig) -> tuple[Checkpoint, bool]:
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


def run(config: FloopConfig) -> None:
    """Learn until SIGINT or SIGTERM; raises `FloopError` when port or checkpoint can't be used."""
    stop = stop_on_signals()
    torch.set_num_threads(1)
    rules = get_task(config.task)
    ids = ids_of(rules, load_robot(config.robot.model))
    checkpoint, resume = starting_point(config)
    info = checkpoint.info
    tail = TailClient(
        config.endpoints.tail,
        after=info.replay_from if resume else 0,
        journal_id=info.journal_id if resume else "",
    )
    outlet = SocketOutlet(config.endpoints)
    stats: StatsFile[LearnerStatus] = StatsFile(Path(config.run_dir), "learner")
    try:
        learner = ContinuousLearner(
            config.learner,
            rules.spec,
            ids,
            build_trainee(config, rules.spec, info.hidden),
            tail,
            outlet,
            Path(config.run_dir) / CHECKPOINT,
        )
        learner.start_from(checkpoint, resume=resume)
        log.info("learner: %s, %d gradient steps so far", "resumed" if resume else "started", info.gradient_steps)
        while not stop.is_set():
            learner.step()
            stats.write(learner.status)
        learner.checkpoint()
        stats.write(learner.status, force=True)
    finally:
        outlet.close()
        tail.close()


def main(argv: list[str] | None = None) -> int:
    """Run the learner; errors that a user can mend are raised as `FloopError`."""
    parser = argparse.ArgumentParser(prog="learner", description=__doc__)
    parser.add_argument("--config", type=Path, help="YAML file; defaults otherwise")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run(load_config(arguments.config))
    return 0


