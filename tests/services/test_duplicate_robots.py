"""Two hosts with one robot's name, as real processes: the second is refused and mixes nothing; later it may follow."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from floop_robot.bundle import Bundle
from floop_robot.deploy.messages import RobotStatus
from floop_robot.deploy.registry import read_history
from floop_robot.services.fleet_manager import registry_path
from floop_robot.services.policy import RobotStats
from floop_robot.services.supervision.fleet_description import SIMULATED, write_config
from floop_robot.services.supervision.stats_file import read_stats
from tests.support.cli_in_process import PICK
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

WAIT_S = 60.0


def robot_1(fleet: SmallFleet) -> RobotStatus:
    status = wait_for(fleet.status, WAIT_S, "the fleet manager")
    return status.robots[0]


def boots(fleet: SmallFleet) -> dict[str, int]:
    """Live episodes by boot of the spool."""
    found = [episode.boot_id for episode in read_history(registry_path(fleet.config)).episodes]
    return {boot: found.count(boot) for boot in found}


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_the_second_host_with_a_robots_name_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    left_folder, right_folder = tmp_path / "left", tmp_path / "right"
    left_folder.mkdir(), right_folder.mkdir()
    with (
        SmallFleet(left_folder, Bundle.load(PICK), robots=1, explorers=0) as left,
        SmallFleet(right_folder, Bundle.load(PICK), robots=1, explorers=0) as right,
    ):
        right.config = msgspec.structs.replace(right.config, endpoints=left.config.endpoints)
        right.file = write_config(right.config)
        left.start("ingest", "fleet_manager")
        left.start(*SIMULATED.parts, robot="robot_1")
        wait_for(lambda: robot_1(left).episodes >= 1, WAIT_S, "an episode of the first")

        kept = Path("robots", "robot_1")  # a copied disk: the second could work at once
        ignored = shutil.ignore_patterns("spool")
        shutil.copytree(left.config.run_dir / kept, right.config.run_dir / kept, ignore=ignored)
        right.start(*SIMULATED.parts, robot="robot_1")
        refused = "the fleet manager refuses this robot: the name robot_1 is in use by"
        wait_for(lambda: refused in right.log("robot_1.policy"), WAIT_S, "the refusal")
        assert str(left_folder) in right.log("robot_1.policy")
        assert refused not in left.log("robot_1.policy")
        now = robot_1(left)
        assert str(left_folder) in now.host and str(right_folder) in now.duplicate

        left.kill("robot_1.policy")  # a restart on the same host is no second one
        left.start("policy", robot="robot_1")
        wait_for(lambda: robot_1(left).episodes >= now.episodes + 2, WAIT_S, "more episodes of the first")
        assert len(boots(left)) == 1
        (stats,) = read_stats(Path(right.config.run_dir), "robot_1.policy", RobotStats)
        assert (stats.policy.episodes, stats.stream.sender.acked) == (0, 0)
        assert "in use by" in stats.stream.sender.error

        for part in SIMULATED.parts:
            left.kill(f"robot_1.{part}")
        accepted = "accepts robot_1 on this host now"
        wait_for(lambda: accepted in right.log("robot_1.policy"), WAIT_S, "the name's being free")
        wait_for(lambda: len(boots(left)) == 2, WAIT_S, "an episode of the second")
        assert str(right_folder) in robot_1(left).host
