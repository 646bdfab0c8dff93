"""The one description of a fleet: the same processes with ROS and without, and only ones that exist."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from floop_robot.durable.locks import RunLock
from floop_robot.services.supervision.fleet_description import (
    CENTRE,
    ArmOptions,
    Middleware,
    missing_safeguards,
    select_processes,
    simulated_fleet,
    write_config,
)
from floop_robot.services.supervision.process_spec import HUGE_PAGES
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError, UnknownName

CONFIG = FloopConfig(robots=2, explorers=2)
FILE = Path("/srv/floop.yaml")


def names(*only: str, middleware: Middleware = Middleware.ROS, arms: ArmOptions | None = None) -> list[str]:
    return [spec.name for spec in select_processes(CONFIG, FILE, middleware, only, arms or ArmOptions())]


def test_ros_changes_how_processes_run_and_not_what_they_are_called() -> None:
    plain = {spec.name: spec for spec in simulated_fleet(CONFIG, FILE)}
    ros = {spec.name: spec for spec in simulated_fleet(CONFIG, FILE, Middleware.ROS)}
    assert ros.keys() - plain.keys() == {"learner_node"}
    assert not plain.keys() - ros.keys()
    assert all(plain[name].part == ros[name].part for name in plain)
    assert not [spec.name for spec in plain.values() if spec.node]
    nodes = {name for name, spec in ros.items() if spec.node}
    robots = {f"robot_{i}.{part}" for i in (1, 2) for part in ("sim_robot", "safety", "policy")}
    assert nodes == robots | {"fleet_manager", "learner_node"}


@pytest.mark.parametrize("middleware", list(Middleware))
def test_every_process_is_a_module_that_exists(middleware: Middleware) -> None:
    own = select_processes(CONFIG, FILE, middleware, (), ArmOptions(simulated=False))
    for spec in (*own, *simulated_fleet(CONFIG, FILE, middleware)):
        module = spec.module if "." in spec.module else f"floop_robot.services.{spec.module}"
        assert importlib.util.find_spec(module) is not None, module


def test_a_node_starts_in_its_namespace_with_its_parameters() -> None:
    arms = ArmOptions(driver="mine.yaml", params_file="p.yaml")
    (policy,) = select_processes(CONFIG, FILE, Middleware.ROS, ["robot_2.policy"], arms)
    words = " ".join(policy.command)
    assert "-m floop_robot.ros.policy.policy_node --ros-args -r __ns:=/robot_2" in words
    for given in ("config:=/srv/floop.yaml", "robot:=robot_2", "autostart:=true", "driver:=mine.yaml"):
        assert f"-p {given}" in words
    assert words.endswith("--params-file p.yaml --disable-external-lib-logs")


def test_parts_of_a_fleet_are_named_alone_or_together_and_never_twice() -> None:
    assert names("robot_2") == ["robot_2.sim_robot", "robot_2.safety", "robot_2.policy"]
    assert names("robot_2.policy", "robot_2", "gate").count("robot_2.policy") == 1
    assert set(names(CENTRE, "robot_1", "robot_2")) == set(names())
    assert names("explorer_2", middleware=Middleware.ZMQ) == ["explorer_2"]


def test_a_robot_with_a_driver_of_its_own_has_no_simulated_one() -> None:
    assert names("robot_1", arms=ArmOptions(simulated=False)) == ["robot_1.safety", "robot_1.cell", "robot_1.policy"]
    assert names("robot_1", arms=ArmOptions(simulated=False, cell=False)) == ["robot_1.safety", "robot_1.policy"]


def test_an_unknown_part_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'robot_2'"):
        names("robt_2")


def test_a_real_arm_is_warned_of_what_it_lacks(tmp_path: Path) -> None:
    operators, run_dir = missing_safeguards(FloopConfig())
    assert "nobody can reset the e-stop of a real arm" in operators
    assert "a robot started from another folder forgets its e-stop" in run_dir
    assert missing_safeguards(FloopConfig(run_dir=str(tmp_path), operators="operators.yaml")) == []


def test_a_configuration_is_written_once_and_not_under_a_running_fleet(tmp_path: Path) -> None:
    config = FloopConfig(run_dir=str(tmp_path))
    file = write_config(config)
    assert load_config(file) == config
    lock = RunLock(tmp_path)
    try:
        assert write_config(config) == file  # the same: nothing to write
        with pytest.raises(ConfigError, match="belongs to a running fleet with another configuration"):
            write_config(FloopConfig(run_dir=str(tmp_path), seed=1))
    finally:
        lock.release()
    write_config(FloopConfig(run_dir=str(tmp_path), seed=1))
    assert load_config(file).seed == 1


def test_robots_but_for_their_safety_keep_memory_in_huge_pages_unless_the_user_manages_it() -> None:
    for spec in simulated_fleet(CONFIG, FILE, Middleware.ROS):
        added = spec.environment({})
        assert added["OMP_NUM_THREADS"] == "1"
        assert (HUGE_PAGES.items() <= added.items()) == (bool(spec.robot) and spec.part != "safety")
        assert not spec.environment({"GLIBC_TUNABLES": "glibc.malloc.check=1"}).keys() & HUGE_PAGES.keys()
