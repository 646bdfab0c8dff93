"""learner_node: the learner's status and its operators' services; supervises the learner process, or finds one running.

Learning itself needs torch and no ROS: it stays the process that it is without ROS (`services.learner`), which this
node starts, restarts when it dies, and asks through its port.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from floop_robot.deploy import FleetClient
from floop_robot.learn.status import LearnerState
from floop_robot.ros.learner.learner_publisher import LearnerPublisher
from floop_robot.ros.learner.learner_services import LearnerServices
from floop_robot.ros.node.diagnostics import ERROR, OK, WARN, DiagnosticItem, DiagnosticsPublisher
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.parameters import Parameter, Parameters
from floop_robot.ros.node.robot_parameters import CONFIG
from floop_robot.services.learner_client import LearnerClient
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError

SUPERVISE: Final = Parameter(
    "supervise", True, "Start the learner process and restart it when it dies; false: one runs already."
)
PROCESS: Final = "learner"
ANSWER_S: Final = 3.0
STARTING_S: Final = 30.0
"""After its start, the learner loads torch and its checkpoint before it answers."""
AUDIT_TIMEOUT_S: Final = 0.5
END_S: Final = 2.0
"""What is left of a learner after this long is killed: its checkpoint is the old or the new one, whole in any case."""
PORT_FREE_S: Final = 10.0
"""A learner whose node was killed writes a checkpoint before it ends."""


def learner_process(config: FloopConfig, path: str) -> ProcessSpec:
    """The learner as its supervisor starts it, as nice as configured however nice this process is."""
    nice = max(0, config.learner.nice - os.nice(0))
    return ProcessSpec(name=PROCESS, module="learner", arguments=("--config", path) if path else (), nice=nice)


def wait_for_port(endpoint: str, stop: threading.Event) -> None:
    """Wait until a learner whose node was killed has gone, too; raises `ConfigError` when it stays."""
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    deadline = time.monotonic() + PORT_FREE_S
    while not stop.is_set():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ConfigError(
                        f"the learner's port {endpoint} is taken: {error.strerror}; stop the learner that runs there, "
                        "or set the parameter supervise to false"
                    ) from None
        stop.wait(0.1)


def health(publisher: LearnerPublisher, supervisor: Supervisor | None) -> DiagnosticItem:
    """The learner's line on `/diagnostics`."""
    status = publisher.status
    levels = {LearnerState.DOWN: ERROR, LearnerState.PAUSED: WARN}
    values = {
        "state": status.state.value,
        "gradient_steps": status.gradient_steps,
        "steps_per_s": f"{status.steps_per_s:.1f}",
        "owed": status.owed,
        "latency_p99_s": f"{status.latency_p99_s:.3f}",
        "candidates": status.candidates,
        "restarts": len(supervisor.restarts) if supervisor else 0,
    }
    return DiagnosticItem(
        "learner",
        levels.get(status.state, OK),
        status.detail or status.state.value,
        tuple((name, str(value)) for name, value in values.items()),
    )


def serve(ros: RosProcess) -> None:
    """Until a signal, or until the learner can't work as configured; raises `ConfigError` with its last line then."""
    node = ros.node("learner_node")
    parameters = Parameters(node, (CONFIG, SUPERVISE))
    path = parameters.text(CONFIG.name)
    config = load_config(Path(path) if path else None)
    with contextlib.ExitStack() as opened:
        supervisor = None
        if parameters.flag(SUPERVISE.name):
            wait_for_port(config.endpoints.learner, ros.stop)
            supervisor = opened.enter_context(Supervisor([learner_process(config, path)], Path(config.run_dir)))
        publisher = LearnerPublisher(node, config, STARTING_S if supervisor else 0.0)
        served = (
            LearnerServices(
                node,
                opened.enter_context(LearnerClient(config.endpoints.learner, ANSWER_S)),
                opened.enter_context(FleetClient(config.endpoints.fleet_rpc, timeout_s=AUDIT_TIMEOUT_S)),
            ),
            DiagnosticsPublisher(node, PROCESS, lambda: (health(publisher, supervisor),)),
        )
        opened.enter_context(publisher)
        opened.enter_context(ros.spinning(node))
        while not ros.stop.wait(0.5):
            if supervisor is not None and supervisor.given_up:
                raise ConfigError(supervisor.given_up[PROCESS])
        publisher.stop()  # it may wait for a learner that is frozen: not before, but while that is ended
        if supervisor is not None:
            supervisor.stop(END_S)
    del served


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM."""
    return run("learner_node", serve, argv)


if __name__ == "__main__":
    sys.exit(main())
