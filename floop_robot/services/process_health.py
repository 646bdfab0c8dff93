"""Is a process at work? Asked from outside, by whatever it shows: fresh figures, an answer, a port."""

from __future__ import annotations

import socket
from pathlib import Path

import msgspec

from floop_robot.services.stats_file import written_ago_s
from floop_robot.services.supervisor import ProcessSpec
from floop_robot.deploy import FleetClient, FleetUnreachable
from floop_robot.spec.config import FloopConfig

_ANSWER_S = 2.0


class Health(msgspec.Struct, frozen=True):
    """What was found out about one process."""

    name: str
    ok: bool
    detail: str


def health_of(spec: ProcessSpec, config: FloopConfig, within_s: float) -> Health:
    """Ask one process; figures older than `within_s` mean that its loop stands still."""
    if spec.part == "fleet_manager":
        return _answers(spec.name, config)
    if spec.part == "ingest":
        return _listens(spec.name, config.endpoints.ingest)
    if spec.part == "learner_node":
        return Health(spec.name, True, "speaks for the learner; not asked")
    age_s = written_ago_s(Path(config.run_dir), spec.name)
    if age_s is None:
        return Health(spec.name, False, f"wrote no figures below {config.run_dir} yet")
    return Health(spec.name, age_s <= within_s, f"wrote figures {age_s:.1f} s ago")


def _answers(name: str, config: FloopConfig) -> Health:
    with FleetClient(config.endpoints.fleet_rpc, who="health", timeout_s=_ANSWER_S) as client:
        try:
            found = client.status()
        except FleetUnreachable as error:
            return Health(name, False, str(error))
    return Health(name, True, f"answers, production v{found.production}")


def _listens(name: str, endpoint: str) -> Health:
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), _ANSWER_S):
            return Health(name, True, f"listens on {endpoint}")
    except OSError as error:
        return Health(name, False, f"{endpoint}: {error.strerror or error}")
