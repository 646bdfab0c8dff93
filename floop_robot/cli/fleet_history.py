"""What a fleet did: from its fleet manager while it runs, else from the registry that it left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from floop_robot.cli.which_fleet import NoFleet, fleet_config
from floop_robot.deploy import FleetClient, Policies
from floop_robot.deploy.controller_state import live_of
from floop_robot.deploy.messages import GetNews, GetPolicies, News
from floop_robot.deploy.registry import AuditEntry, read_audit, read_versions
from floop_robot.deploy.request_handler import live_by_weights
from floop_robot.durable.locks import is_running
from floop_robot.services.fleet_manager import registry_path
from floop_robot.spec.config import FloopConfig


def known_fleet(config: Path | None) -> FloopConfig:
    """The configuration of a fleet that runs or ran; says on stderr when only its history can be read."""
    found = fleet_config(config)
    if config is None and not is_running(Path(found.run_dir)) and not registry_path(found).exists():
        raise NoFleet(f"the fleet of {found.run_dir} is not running and left no registry; start it with `floop up`")
    if config is not None and _is_history(found):
        click.echo(f"the fleet of {found.run_dir} is not running; this is what it left", err=True)
    return found


def policies_of(config: FloopConfig, last: int) -> Policies:
    """The last versions, with what became of them; raises `FloopError` when nobody answers and nothing was left."""
    if not _is_history(config):
        with FleetClient(config.endpoints.fleet_rpc) as client:
            return client.ask(GetPolicies(last=last), Policies)
    history = read_versions(registry_path(config), last)
    return Policies(
        production=history.production,
        baseline=history.baseline,
        versions=history.versions,
        confirmed=tuple(info.version for info in history.versions if info.sha256 in history.confirmed),
        live=live_by_weights(history.versions, live_of(history)),
        count=history.count,
    )


def audit_of(config: FloopConfig) -> Iterator[AuditEntry]:
    """The audit, newest first, as far as it is asked for; raises as `policies_of`."""
    if registry_path(config).exists():  # readers do not disturb its writer
        yield from read_audit(registry_path(config))
        return
    entries: list[AuditEntry] = []
    with FleetClient(config.endpoints.fleet_rpc) as client:
        asked = GetNews(audit_after=0)
        while (news := client.ask(asked, News)).audit:
            entries.extend(news.audit)
            asked = GetNews(audit_after=news.audit_to)
    yield from reversed(entries)


def _is_history(config: FloopConfig) -> bool:
    return registry_path(config).exists() and not is_running(Path(config.run_dir))
