"""The simulated robots' world: shifted by one file, different on each robot, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from floop_robot.sim.sim_world import RobotScenarios, SimWorld, evaluation_scenarios, get_world, set_world
from floop_robot.spec.errors import UnknownName

TASK = "floop/Pick-v0"


def test_the_world_is_unshifted_until_somebody_sets_it(tmp_path: Path) -> None:
    assert get_world(tmp_path) == SimWorld()
    set_world(tmp_path, SimWorld("new-object"))
    assert get_world(tmp_path) == SimWorld("new-object")
    set_world(tmp_path, SimWorld())
    assert get_world(tmp_path) == SimWorld()


def test_a_robot_draws_the_same_episode_again_and_others_draw_others() -> None:
    first, again = RobotScenarios(TASK, "robot_1", 0, 5), RobotScenarios(TASK, "robot_1", 0, 5)
    assert first.scenario(SimWorld(), 3) == again.scenario(SimWorld(), 3)
    assert first.scenario(SimWorld(), 3) != first.scenario(SimWorld(), 4)
    second = RobotScenarios(TASK, "robot_2", 1, 5).scenario(SimWorld(), 3)
    assert second.seed != first.scenario(SimWorld(), 3).seed
    assert second.robot == "robot_2"
    assert second.table_friction != first.scenario(SimWorld(), 3).table_friction, "hidden parameters differ"


def test_a_shift_changes_what_a_robot_works_on() -> None:
    robot = RobotScenarios(TASK, "robot_1", 0, 5)
    classes = {robot.scenario(SimWorld(), i).object.object_class for i in range(20)}
    assert classes == {"box", "cylinder"}
    assert {robot.scenario(SimWorld("new-object"), i).object.object_class for i in range(5)} == {"basket"}
    with pytest.raises(UnknownName, match="did you mean"):
        robot.scenario(SimWorld("new-objekt"), 0)


def test_a_shift_may_concern_some_robots_only(tmp_path: Path) -> None:
    world = SimWorld("new-object", ("robot_2",))
    set_world(tmp_path, world)
    assert get_world(tmp_path) == world and world.name == "new-object on robot_2"
    assert world.shifted_robots(("robot_1", "robot_2")) == ("robot_2",)
    spared, shifted = (RobotScenarios(TASK, f"robot_{i + 1}", i, 5) for i in range(2))
    assert spared.scenario(world, 3) == spared.scenario(SimWorld(), 3)
    assert shifted.scenario(world, 3).object.object_class == "basket"


def test_report_scenarios_are_spread_over_the_robots_and_shared() -> None:
    names = ("robot_1", "robot_2")
    spread = evaluation_scenarios(TASK, None, names, 5, 6)
    assert spread == evaluation_scenarios(TASK, None, names, 5, 6)
    frictions = [scenario.table_friction for scenario in spread]
    assert frictions[0::2] == [frictions[0]] * 3 and frictions[1::2] == [frictions[1]] * 3
    assert frictions[0] != frictions[1]
    plain = evaluation_scenarios(TASK, "new-object", (), 5, 6)
    assert {scenario.object.object_class for scenario in plain} == {"basket"}
    assert len({scenario.table_friction for scenario in plain}) == 1, "the gate's simulator has no hidden parameters"


def test_uncorrected_scenarios_name_no_robot_and_are_the_same_otherwise() -> None:
    names = ("robot_1", "robot_2")
    plain = evaluation_scenarios(TASK, None, names, 5, 4)
    assert [scenario.robot for scenario in plain] == [*names, *names]
    found = evaluation_scenarios(TASK, None, names, 5, 4, uncorrected=("robot_2",))
    assert [scenario.robot for scenario in found] == ["robot_1", "", "robot_1", ""]
    assert [msgspec.structs.replace(scenario, robot="") for scenario in plain] == [
        msgspec.structs.replace(scenario, robot="") for scenario in found
    ]
