"""Tells from outside whether a process works: by an answer, an open port, or the age of its stats file."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from floop_robot.deploy import FleetClient, Unreachable
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.stats_file import stats_age_s
from floop_robot.spec.config import FloopConfig

_ANSWER_S = 2.0


class ProcessHealth(msgspec.Struct, frozen=True):
    """Health of one process."""

    name: str
    ok: bool
    detail: str


def process_health(spec: ProcessSpec, config: FloopConfig, within_s: float) -> ProcessHealth:
    """Check one process. Figures older than `within_s` mean that its loop has stopped."""
    if spec.part == "fleet_manager":
        return _fleet_manager_answers(spec.name, config)
    if spec.part == "ingest":
        return _port_listens(spec.name, config.endpoints.ingest)
    if spec.part == "learner_node":
        return ProcessHealth(spec.name, True, "not checked: it only forwards to the learner")
    age_s = stats_age_s(Path(config.run_dir), spec.name)
    if age_s is None:
        return ProcessHealth(spec.name, False, f"has written no stats file below {config.run_dir} yet")
    return ProcessHealth(spec.name, age_s <= within_s, f"wrote its stats file {age_s:.1f} s ago")


def _fleet_manager_answers(name: str, config: FloopConfig) -> ProcessHealth:
    with FleetClient(config.endpoints.fleet_rpc, timeout_s=_ANSWER_S) as client:
        try:
            found = client.status()
        except Unreachable as error:
            return ProcessHealth(name, False, str(error))
    return ProcessHealth(name, True, f"answers; v{found.production} is in production")


def _port_listens(name: str, endpoint: str) -> ProcessHealth:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_S):
            return ProcessHealth(name, True, f"listens on {endpoint}")
    except OSError as error:
        return ProcessHealth(name, False, f"{endpoint}: {error.strerror or error}")
