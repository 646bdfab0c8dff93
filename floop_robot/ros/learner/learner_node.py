"""learner_node: the learner's status and its operators' services. It supervises the learner process, or finds one.

Learning needs torch and no ROS. So it stays a process of its own (`services.learner`): this node starts it, restarts it
when it dies, and asks it through its port.
"""

from __future__ import annotations

import contextlib
import sys
from functools import partial
from pathlib import Path
from typing import Final

from floop_interfaces import msg
from floop_robot.deploy import FleetClient
from floop_robot.learn.status import LearnerState, LearnerStatus
from floop_robot.ros.learner.learner_services import LearnerServices
from floop_robot.ros.node import topics
from floop_robot.ros.node.convert import to_message
from floop_robot.ros.node.diagnostics import DiagnosticsPublisher
from floop_robot.ros.node.main import RosProcess, run
from floop_robot.ros.node.node_parameters import LEARNER_PARAMETERS, SUPERVISE, declare_parameters
from floop_robot.ros.node.qos import LATCHED
from floop_robot.ros.node.robot_parameters import CONFIG
from floop_robot.services.diagnostics import ERROR, OK, WARN, DiagnosticItem
from floop_robot.services.learner_client import LearnerClient
from floop_robot.services.learner_watcher import LEARNER, LearnerWatcher, supervise_learner
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.spec.config import load_config
from floop_robot.spec.errors import ConfigError

ANSWER_S: Final = 3.0
STARTING_S: Final = 30.0
"""After its start, the learner loads torch and its checkpoint before it answers."""
AUDIT_TIMEOUT_S: Final = 0.5
END_S: Final = 2.0
"""A learner that has not ended by then is killed: its checkpoint is whole, the old or the new one."""


def health(status: LearnerStatus, supervisor: Supervisor | None) -> DiagnosticItem:
    """The learner's line on `/diagnostics`."""
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
    return DiagnosticItem("learner", levels.get(status.state, OK), status.detail or status.state.value, values)


def serve(ros: RosProcess) -> None:
    """Run until a signal; raises `ConfigError` with the learner's last line when it can't work as configured."""
    node = ros.node("learner_node")
    parameters = declare_parameters(node, LEARNER_PARAMETERS)
    path = parameters.get(CONFIG)
    config = load_config(Path(path) if path else None)
    with contextlib.ExitStack() as opened:
        supervisor = None
        if parameters.get(SUPERVISE):
            supervisor = opened.enter_context(supervise_learner(config, path, ros.stop))
        topic = node.create_publisher(msg.LearnerStatus, topics.in_site(node, topics.LEARNER_STATUS), LATCHED)
        watcher = LearnerWatcher(
            config,
            STARTING_S if supervisor else 0.0,
            lambda status: topic.publish(to_message(msg.LearnerStatus, status)),
        )
        served = (
            LearnerServices(
                node,
                opened.enter_context(LearnerClient(config.endpoints.learner, ANSWER_S)),
                opened.enter_context(FleetClient(config.endpoints.fleet_rpc, timeout_s=AUDIT_TIMEOUT_S)),
            ),
            DiagnosticsPublisher(node, LEARNER, lambda: (health(watcher.status, supervisor),)),
        )
        opened.enter_context(watcher)
        opened.enter_context(ros.spinning(node))
        while not ros.stop.wait(0.5):
            if supervisor is not None and supervisor.given_up:
                raise ConfigError(supervisor.given_up[LEARNER])
        watcher.stop()  # it may wait for a frozen learner: it ends together with that
        if supervisor is not None:
            supervisor.stop(END_S)
    del served


main = partial(run, "learner_node", serve)

if __name__ == "__main__":
    sys.exit(main())
