"""The processes of a fleet, for `floop demo`, `floop up`, the launch files and Docker alike.

A fleet runs without ROS, over ZeroMQ and Unix sockets. With ROS 2, its robots and its operators' services are nodes.
This file describes both and imports neither.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec

from floop_robot.bundle import write_atomic
from floop_robot.durable.locks import no_fleet_running
from floop_robot.services.supervision.process_spec import ProcessSpec, RosNode
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.errors import UnknownName

CENTRE = "centre"
"""Name for all processes that belong to no robot."""
CONFIG_FILE = "floop.yaml"
NODES = "floop_robot.ros"
NO_LOG_FILES = ("--disable-external-lib-logs",)
"""The supervisor keeps what nodes write, within a bound. ROS would write it again below `~/.ros/log`, without one."""


class ArmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the robots' arms are driven."""

    simulated: bool = True
    """Whether floop starts a simulated arm for each robot; if not, ROS drivers run elsewhere."""
    driver: str = ""
    """Description of the drivers' topics: a name in config/drivers or a file; empty for ros2_control's usual ones."""
    cell: bool = True
    """Whether floop starts the node that resets the work cell and moves a real arm home."""
    params_file: str = ""
    """YAML file with ROS parameters of the robots' nodes; empty for none."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The kinds of processes that each robot has."""
        if self.simulated:
            return ("sim_robot", "safety", "policy")
        return ("safety", "cell", "policy") if self.cell else ("safety", "policy")


SIMULATED = ArmOptions()


class Middleware(enum.StrEnum):
    """How robots, operators and the fleet exchange messages."""

    ZMQ = "zmq"
    ROS = "ros"


def missing_safeguards(config: FloopConfig) -> list[str]:
    """Return a warning for each setting that a real arm needs and this configuration lacks."""
    lines = []
    if not config.operators:
        lines.append("`operators` is not set: nobody can reset the e-stop of a real arm; name a token file")
    if not Path(config.run_dir).is_absolute():
        lines.append(
            f"run_dir is {config.run_dir!r}: a robot started from another folder forgets its e-stop; "
            "give a real arm an absolute path"
        )
    return lines


def write_config(config: FloopConfig) -> Path:
    """Write the effective configuration into the run directory, where every process reads it.

    Raises `StorageError`, or `ConfigError` when a fleet runs there with another configuration.
    """
    path, data = Path(config.run_dir) / CONFIG_FILE, msgspec.yaml.encode(config)
    if not (path.is_file() and path.read_bytes() == data):
        with no_fleet_running(path.parent):
            write_atomic(path, data)
    return path


def central_processes(
    config: FloopConfig, config_file: Path, middleware: Middleware = Middleware.ZMQ
) -> list[ProcessSpec]:
    """Ingest, fleet manager, gate, learner, explorers and fitter."""
    common = ("--config", str(config_file))
    explorers = [
        ProcessSpec(
            name=f"explorer_{i + 1}",
            module="explorer",
            arguments=(*common, "--index", str(i)),
            nice=config.learner.nice,
        )
        for i in range(config.explorer_count)
    ]
    # Without explorers nobody would practise in the fitted worlds.
    fitter = ProcessSpec(name="fitter", module="fitter", arguments=common, nice=config.learner.nice)
    ros = middleware is Middleware.ROS
    zmq_manager = ProcessSpec(name="fleet_manager", module="fleet_manager", arguments=common)
    return [
        ProcessSpec(name="ingest", module="ingest", arguments=common),
        _node("fleet_manager", "fleet", config_file) if ros else zmq_manager,
        ProcessSpec(name="gate", module="gate", arguments=common, nice=config.gate.nice),
        ProcessSpec(name="learner", module="learner", arguments=common, nice=config.learner.nice),
        *([_learner_node(config_file)] if ros else []),
        *explorers,
        *([fitter] if explorers else []),
    ]


def robot_processes(
    config_file: Path, robot: str, middleware: Middleware = Middleware.ZMQ, arms: ArmOptions = SIMULATED
) -> list[ProcessSpec]:
    """The processes of one robot; without ROS its arm is always simulated."""
    if middleware is Middleware.ROS:
        return [_robot_node(part, robot, config_file, arms) for part in arms.parts]
    arguments = ("--config", str(config_file), "--robot", robot)
    return [ProcessSpec(name=f"{robot}.{part}", module=part, arguments=arguments) for part in SIMULATED.parts]


def simulated_fleet(
    config: FloopConfig, config_file: Path, middleware: Middleware = Middleware.ZMQ
) -> list[ProcessSpec]:
    """Every process of a fleet of simulated robots."""
    robots = [spec for name in config.robot_names for spec in robot_processes(config_file, name, middleware)]
    return [*central_processes(config, config_file, middleware), *robots]


def select_processes(
    config: FloopConfig, config_file: Path, middleware: Middleware, only: Sequence[str], arms: ArmOptions = SIMULATED
) -> list[ProcessSpec]:
    """The fleet's processes, or only those named: `CENTRE`, a robot, or a single process. Raises `UnknownName`."""
    central = central_processes(config, config_file, middleware)
    robots = {robot: robot_processes(config_file, robot, middleware, arms) for robot in config.robot_names}
    groups = {CENTRE: central, **robots, **{s.name: [s] for s in (*central, *itertools.chain(*robots.values()))}}
    for name in only:
        if name not in groups:
            raise UnknownName("part of the fleet", name, groups)
    found = [spec for name in only or (CENTRE, *robots) for spec in groups[name]]
    return list({spec.name: spec for spec in found}.values())


def _robot_node(part: str, robot: str, config_file: Path, arms: ArmOptions) -> ProcessSpec:
    # The policy node activates itself, so that it is active again after every restart.
    parameters = [("robot", robot)]
    if part == "policy":
        parameters.append(("autostart", "true"))
    if part == "safety":
        parameters.append(("simulated", str(arms.simulated).lower()))
    if arms.driver:
        parameters.append(("driver", arms.driver))
    return _node(
        part,
        robot,
        config_file,
        name=f"{robot}.{part}",
        parameters=tuple(parameters),
        params_file=arms.params_file,
    )


def _learner_node(config_file: Path) -> ProcessSpec:
    # The node could start the learner itself; here one supervisor starts and watches both.
    return _node("learner", "learner", config_file, name="learner_node", parameters=(("supervise", "false"),))


def _node(
    part: str,
    namespace: str,
    config_file: Path,
    *,
    name: str = "",
    parameters: tuple[tuple[str, str], ...] = (),
    params_file: str = "",
) -> ProcessSpec:
    node = RosNode(
        executable=f"{part}_node",
        namespace=namespace,
        parameters=(("config", str(config_file)), *parameters),
        params_file=params_file,
    )
    return ProcessSpec(
        name=name or part,
        module=f"{NODES}.{part.split('_')[0]}.{node.executable}",
        arguments=(*node.arguments(), *NO_LOG_FILES),
        node=node,
    )
