"""What the launch files share: from arguments to a configuration, to the fleet's processes, to launch actions.

`floop up` starts the same processes (`services/supervision/fleet_description.py`). Nothing here drives a node's life
cycle: the policy node brings itself up, also after it was killed and started again.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
from launch import Action, LaunchContext
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node

from floop_robot.services.entry import USER_ERROR
from floop_robot.services.supervision.fleet_description import write_config
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.ros_domain import LOCAL_ONLY
from floop_robot.services.supervision.supervisor import STABLE_AFTER_S
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.yaml_file import convert

PACKAGE: Final = "floop_robot"
RESPAWN_DELAY_S: Final = 0.5

ARGUMENTS: Final = {
    "config": ("", "YAML file of the fleet (FloopConfig); left out, the defaults."),
    "run_dir": ("", "Folder for journal, registry, spools and logs; left out, the configuration's."),
    "robots": ("", "Number of robots, named robot_1 … robot_N; left out, the configuration's."),
    "explorers": ("", "Simulated workers that act on the live weights; left out, the configuration's."),
    "seed": ("", "Seed of worlds and learner; left out, the configuration's."),
    "use_respawn": ("true", "Start a process again when it dies: true or false."),
    "autostart": (
        "true",
        "The policy node configures and activates itself, again after each restart; false: you drive its life cycle.",
    ),
    "use_sim_time": (
        "false",
        "Parameter use_sim_time of the nodes; loops and timers keep the steady clock, stamps wall time.",
    ),
    "log_level": ("info", "Least severe messages that the nodes write: debug, info, warn, error or fatal."),
    "params_file": ("", "YAML file with ROS parameters for the nodes; wins over what launch gives them."),
}
"""Name → default and description, for `declare_arguments`."""
CENTRAL_ARGUMENTS: Final = ("use_respawn", "use_sim_time", "log_level", "params_file")
ROBOT_ARGUMENTS: Final = ("autostart", *CENTRAL_ARGUMENTS)
"""How processes are started: arguments of every launch file with robots in it, or without."""
_FROM_CONFIG: Final = ("robots", "explorers", "seed")


class LaunchRequest(msgspec.Struct, frozen=True):
    """What somebody asked a launch file for."""

    config: FloopConfig
    """The configuration with the launch arguments in it."""
    file: Path
    """Where the configuration is stored for the processes."""
    context: Any
    """The launch context, for a file's own arguments."""
    notes: tuple[str, ...] = ()
    """What a person should know before it starts."""

    def value(self, name: str) -> str:
        """Value of a launch argument."""
        return str(LaunchConfiguration(name).perform(self.context))

    def flag(self, name: str) -> bool:
        """Value of a launch argument that is true or false; raises `ConfigError` for anything else."""
        found = self.value(name).lower()
        if found not in ("true", "false"):
            raise ConfigError(f"{name}:={found} is neither true nor false")
        return found == "true"


def declare_arguments(*names: str) -> list[Action]:
    """Declarations of the shared arguments with these names."""
    return [DeclareLaunchArgument(name, default_value=ARGUMENTS[name][0], description=ARGUMENTS[name][1])
            for name in names]  # fmt: skip


def restrict_to_localhost() -> list[Action]:
    """Keep a simulated fleet's traffic on this machine, unless the environment already says how far it may go."""
    return [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=value))
        for name, value in LOCAL_ONLY.items()
    ]


def start_processes(describe: Callable[[LaunchRequest], Iterable[ProcessSpec]]) -> Action:
    """Start the processes that `describe` names when all arguments are known."""

    def act(context: LaunchContext) -> list[Action]:
        request = _read_request(context)
        notes = [LogInfo(msg=line) for line in request.notes]
        return [*notes, *(action for spec in describe(request) for action in _actions(spec, request))]

    return OpaqueFunction(function=act)


def _read_request(context: LaunchContext) -> LaunchRequest:
    given = {name: LaunchConfiguration(name, default="").perform(context) for name in (*_FROM_CONFIG, "run_dir")}
    path = LaunchConfiguration("config").perform(context)
    config = load_config(Path(path) if path else None)
    changes: dict[str, Any] = {name: _integer(name, value) for name, value in given.items()
                               if value and name in _FROM_CONFIG}  # fmt: skip
    run_dir = Path(given["run_dir"] or config.run_dir)
    plain = msgspec.to_builtins(config) | changes | {"run_dir": str(run_dir.absolute())}
    note = f"run_dir {run_dir} is {run_dir.absolute()} here; from another folder it is another, which knows no stop"
    config = convert(plain, FloopConfig, "launch arguments")
    return LaunchRequest(config, write_config(config), context, () if run_dir.is_absolute() else (note,))


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"{name}:={value} is not a whole number") from None


def _actions(spec: ProcessSpec, request: LaunchRequest) -> list[Action]:
    process, handler = _process(spec, request), ExitHandler(spec.name, respawn=request.flag("use_respawn"))
    return [
        RegisterEventHandler(OnProcessStart(target_action=process, on_start=handler.on_start)),
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=handler.on_exit)),
        process,
    ]


class ExitHandler:
    """Stops everything when a process ends with an error that a person has to correct, as `floop up` does.

    A process that has worked as configured is different: its error may pass (a full disk), so the others work on,
    safety above all.
    """

    def __init__(self, name: str, *, respawn: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """`respawn`: whether launch starts it again."""
        self._name, self._respawn, self._clock, self._born_s, self._proven = name, respawn, clock, math.inf, False

    def on_start(self, _event: object, _context: object) -> None:
        """It was started."""
        self._born_s = self._clock()

    def on_exit(self, event: Any, _context: object) -> list[Action] | None:
        """It ended; what is to be done."""
        self._proven |= self._clock() - self._born_s > STABLE_AFTER_S
        if event.returncode != USER_ERROR:
            return None
        if self._proven:
            lost = f"{self._name} can't go on (see its last line) and is not started again; the others work on"
            return None if self._respawn else [LogInfo(msg=lost)]
        text = f"{self._name} can't work as configured (see its last line); stopping"
        return [LogInfo(msg=text), Shutdown(reason=text)]


def _process(spec: ProcessSpec, request: LaunchRequest) -> Action:
    common: dict[str, Any] = {
        "prefix": f"nice -n {spec.nice}" if spec.nice else None,
        "additional_env": spec.environment(os.environ),
        "output": "screen",
        "respawn": request.flag("use_respawn"),
        "respawn_delay": RESPAWN_DELAY_S,
    }
    if spec.node is None:
        command = [sys.executable, "-m", "floop_robot.services.entry", spec.module, *spec.arguments]
        return ExecuteProcess(cmd=command, name=spec.name, **common)
    values: dict[str, Any] = {name: _typed(value) for name, value in spec.node.parameters}
    switches = ("use_sim_time", "autostart") if "autostart" in values else ("use_sim_time",)
    values |= {name: request.flag(name) for name in switches}
    params_file = request.value("params_file")
    return Node(  # no name: that would rename every node of the process
        package=PACKAGE,
        executable=spec.node.executable,
        namespace=spec.node.namespace,
        parameters=[values, params_file] if params_file else [values],
        ros_arguments=["--log-level", request.value("log_level")],
        exec_name=spec.name,
        **common,
    )


def _typed(value: str) -> str | bool:
    return value == "true" if value in ("true", "false") else value
