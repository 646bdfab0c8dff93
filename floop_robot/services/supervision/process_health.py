"""Tells from outside whether a process works: by an answer, an open port, or the age of its stats file."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from floop_robot.deploy import FleetClient, Unreachable
from floop_robot.services.safety import SafetyStats
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.stats_file import read_newest_stats, read_thread_restarts, stats_age_s
from floop_robot.services.supervision.stopped_run import stopped_reason
from floop_robot.spec.config import FloopConfig

_ANSWER_S = 2.0
_UNCHECKED = {"learner_node": "it only forwards to the learner", "cell": "it writes no figures"}


class ProcessHealth(msgspec.Struct, frozen=True):
    """Health of one process."""

    name: str
    ok: bool
    detail: str


def process_health(
    spec: ProcessSpec, config: FloopConfig, within_s: float, answer_s: float = _ANSWER_S
) -> ProcessHealth:
    """Check one process. Figures older than `within_s` mean that its loop has stopped; `answer_s`: longest wait."""
    if spec.part == "fleet_manager":
        return _fleet_manager_answers(spec.name, config, answer_s)
    if spec.part == "ingest":
        return _port_listens(spec.name, config.endpoints.ingest, answer_s)
    if spec.part in _UNCHECKED:
        return ProcessHealth(spec.name, True, f"not checked: {_UNCHECKED[spec.part]}")
    age_s = stats_age_s(Path(config.run_dir), spec.name)
    if age_s is None:
        return ProcessHealth(spec.name, False, f"has written no stats file below {config.run_dir} yet")
    restarts = read_thread_restarts(Path(config.run_dir), spec.name)
    ended = "".join(f"; {name} ended unexpectedly {count} times, it runs again" for name, count in restarts.items())
    return ProcessHealth(spec.name, age_s <= within_s, f"wrote its stats file {age_s:.1f} s ago{ended}")


def has_simulated_arm(run_dir: Path, robot: str) -> bool:
    """Whether the arm that the robot's safety process drives is simulated; False while there was no such process."""
    found = read_newest_stats(run_dir, f"{robot}.safety", SafetyStats)
    return found is not None and found.simulated


def _fleet_manager_answers(name: str, config: FloopConfig, answer_s: float) -> ProcessHealth:
    if reason := stopped_reason(config):
        return ProcessHealth(name, False, reason)
    with FleetClient(config.endpoints.fleet_rpc, timeout_s=answer_s) as client:
        try:
            found = client.status()
        except Unreachable as error:
            return ProcessHealth(name, False, str(error))
    return ProcessHealth(name, True, f"answers; v{found.production} is in production")


def _port_listens(name: str, endpoint: str, answer_s: float) -> ProcessHealth:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), answer_s):
            return ProcessHealth(name, True, f"listens on {endpoint}")
    except OSError as error:
        return ProcessHealth(name, False, f"{endpoint}: {error.strerror or error}")
