"""The gate's talk with a real fleet manager: what became of a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.deploy.peer_secrets import site_secret
from floop_robot.deploy.registry import CandidateState
from floop_robot.services.gate_fleet_client import GateFleetClient
from floop_robot.spec.verdict import Decision
from tests.support.in_process_fleet import OperatorClient, verdict
from tests.support.sample_policies import clumsy, collapsed, skilled
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with SmallFleet(tmp_path, clumsy()) as fleet:
        fleet.start("fleet_manager")
        wait_for(fleet.status, WAIT_S, "the fleet manager")
        yield fleet


def test_a_verdict_that_came_too_late_gives_its_candidate_back(fleet: SmallFleet) -> None:
    with OperatorClient(fleet.config.endpoints.fleet_rpc, "anna@bench", 20.0) as operator:
        assert operator.push(collapsed()).version == 2
    with GateFleetClient(fleet.config.endpoints, "gate", site_secret(Path(fleet.config.run_dir))) as link:
        link.submit(skilled(), verdict(skilled(), incumbent=1))
        stale = wait_for(link.take_stale, WAIT_S, "the candidate")
        assert stale.manifest.sha256 == skilled().manifest.sha256
        assert link.take_stale() is None
        incumbent = wait_for(link.take_incumbent, WAIT_S, "what is in production now")
        assert incumbent.manifest.version == 2
        link.submit(stale, verdict(stale, incumbent=2))
        status = wait_for(lambda: (s := fleet.status()) and s.production == 3 and s, WAIT_S, "the new version")
        assert link.take_stale() is None
    assert status.candidates == {CandidateState.STALE: 1, CandidateState.PUBLISHED: 1}


def test_a_refused_candidate_is_not_judged_again(fleet: SmallFleet) -> None:
    with GateFleetClient(fleet.config.endpoints, "gate", site_secret(Path(fleet.config.run_dir))) as link:
        link.submit(collapsed(), verdict(collapsed(), incumbent=1, decision=Decision.REJECTED))
        wait_for(lambda: link.acknowledged == 1, WAIT_S, "the acknowledgement")
        assert link.take_stale() is None
