"""What the launch files share: from arguments to a configuration, to the fleet's processes, to launch actions.

`floop up` starts the same processes (`services/supervision/fleet_description.py`). Nothing here drives a node's life
cycle: the policy node brings itself up, also after it was killed and started again.

All is checked before anything starts. `launch` itself forgets the processes that it has described when something after
them fails: it ends, and they run on. So everything is described in one step (`StartTogether`).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from launch import Action, LaunchContext, LaunchDescription, LaunchDescriptionEntity
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch.utilities import visit_all_entities_and_collect_futures
from launch_ros.actions import Node
from launch_ros.utilities import make_namespace_absolute, prefix_namespace

from floop_robot.ros.node.node_parameters import fleet_nodes
from floop_robot.ros.node.parameter_file import check_parameter_file
from floop_robot.services.entry import SUPERVISOR_PID, USER_ERROR
from floop_robot.services.supervision.fleet_description import CONFIG_FILE, write_config
from floop_robot.services.supervision.preflight import check_start
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.ros_domain import LOCAL_ONLY
from floop_robot.services.supervision.supervisor import STABLE_AFTER_S
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.yaml_file import convert

PACKAGE: Final = "floop_robot"
RESPAWN_DELAY_S: Final = 0.5
LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
_LEVEL: Final = re.compile(rf"([\w./]+:=)?({'|'.join(LEVELS)})\Z", re.IGNORECASE)
_PUSHED: Final = "ros_namespace"
"""Where `PushRosNamespace` keeps its namespace."""

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
        "Stamps of messages are the time on /clock; loops, timers and watchdogs keep the steady clock.",
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
    robot_namespace: str = ""
    """The one robot's namespace, as given; empty for a fleet."""
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

    @property
    def site(self) -> str:
        """The namespace that holds robots, `fleet` and `learner`, as `/site_a`; empty for the root."""
        pushed = self.context.launch_configurations.get(_PUSHED)
        full = make_namespace_absolute(prefix_namespace(pushed, self.robot_namespace or "_"))
        return str(full).rpartition("/")[0]


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


def describe_launch(file: str, actions: Iterable[Action]) -> LaunchDescription:
    """The launch description of `file` (`__file__`), which refuses arguments that it does not declare."""
    actions = list(actions)
    names = [action.name for action in actions if isinstance(action, DeclareLaunchArgument)]

    def refuse(context: LaunchContext) -> None:
        given = [word.partition(":=")[0] for word in context.argv if ":=" in word] if _is_launched(file) else []
        for name in given:
            if name not in names:
                raise UnknownName("launch argument", name, names, Path(file).name)

    return LaunchDescription([OpaqueFunction(function=refuse), *actions])


def _is_launched(file: str) -> bool:
    """Whether the command line is about this very file. One that is included gets arguments of others as well."""
    words = sys.argv[1:]
    if (PACKAGE, Path(file).name) in itertools.pairwise(words):
        return True
    return any(os.path.realpath(word) == os.path.realpath(file) for word in words)


class StartTogether(Action):
    """Starts what `actions` describe, all of it or, when one of them or `prepare` fails, none."""

    def __init__(
        self, actions: Iterable[LaunchDescriptionEntity], prepare: Callable[[], None] = lambda: None, **kwargs: Any
    ) -> None:
        """`prepare` is called when everything is described, and before anything starts."""
        super().__init__(**kwargs)
        self._actions, self._prepare = list(actions), prepare

    def execute(self, context: LaunchContext) -> None:
        """Visit the actions; raises what they raise, and takes back what they have scheduled."""
        before = asyncio.all_tasks(context.asyncio_loop)
        try:
            found = [pair for each in self._actions for pair in visit_all_entities_and_collect_futures(each, context)]
            self._prepare()
        except BaseException:
            for task in asyncio.all_tasks(context.asyncio_loop) - before:
                task.cancel()  # none has begun: they all wait for this one
            raise
        for _, future in found:
            context.add_completion_future(future)


def start_processes(
    describe: Callable[[LaunchRequest], Sequence[ProcessSpec]],
    *,
    one_robot: bool = False,
    beside: Callable[[LaunchRequest], Iterable[Action]] = lambda _: (),
    prepare: Callable[[LaunchRequest], None] = lambda _: None,
) -> Action:
    """Start the processes that `describe` names when all arguments are known and all they name has been checked.

    `one_robot`: the launch file has the arguments `namespace` and `driver`. `beside`: actions that are started with the
    processes, and described first. `prepare` is called last, and may write.
    """

    def act(context: LaunchContext) -> list[Action]:
        request = _read_request(context, LaunchConfiguration("namespace").perform(context) if one_robot else "")
        specs = describe(request)
        _check_level(request.value("log_level"))
        notes = [*request.notes, *_check_parameters(request)]
        actions = [*beside(request), *(action for spec in specs for action in _actions(spec, request))]
        check_start(request.config, specs, request.value("driver") if one_robot else "")

        def write() -> None:
            write_config(request.config)
            prepare(request)

        return [*(LogInfo(msg=line) for line in notes), StartTogether(actions, write)]

    return OpaqueFunction(function=act)


def _read_request(context: LaunchContext, robot_namespace: str) -> LaunchRequest:
    given = {name: LaunchConfiguration(name, default="").perform(context) for name in (*_FROM_CONFIG, "run_dir")}
    path = LaunchConfiguration("config").perform(context)
    config = load_config(Path(path) if path else None)
    changes: dict[str, Any] = {name: _integer(name, value) for name, value in given.items()
                               if value and name in _FROM_CONFIG}  # fmt: skip
    run_dir = Path(given["run_dir"] or config.run_dir)
    plain = msgspec.to_builtins(config) | changes | {"run_dir": str(run_dir.absolute())}
    note = f"run_dir {run_dir} is {run_dir.absolute()} here; from another folder it is another, which knows no stop"
    config = convert(plain, FloopConfig, "launch arguments")
    file = Path(config.run_dir) / CONFIG_FILE
    return LaunchRequest(config, file, context, robot_namespace, () if run_dir.is_absolute() else (note,))


def _integer(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise ConfigError(f"{name}:={value} is not a whole number") from None


def _check_level(level: str) -> None:
    if not _LEVEL.match(level):
        raise ConfigError(f"log_level:={level} is no severity; use one of {', '.join(LEVELS)}")


def _check_parameters(request: LaunchRequest) -> list[str]:
    given = request.value("params_file")
    return check_parameter_file(Path(given), fleet_nodes(request.config.robot_names, request.site)) if given else []


def _actions(spec: ProcessSpec, request: LaunchRequest) -> list[Action]:
    process, handler = _process(spec, request), ExitHandler(spec.name, respawn=request.flag("use_respawn"))
    return [
        RegisterEventHandler(OnProcessStart(target_action=process, on_start=handler.on_start)),
        RegisterEventHandler(OnProcessExit(target_action=process, on_exit=handler.on_exit)),
        process,
    ]


class ExitHandler:
    """Ends everything, and launch with a failure, when a process ends with an error that a person has to correct.

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
        """It ended; what is to be done. Raises `ConfigError` to end launch: `Shutdown` would be a success."""
        self._proven |= self._clock() - self._born_s > STABLE_AFTER_S
        if event.returncode != USER_ERROR:
            return None
        if self._proven:
            lost = f"{self._name} can't go on (see its last line) and is not started again; the others work on"
            return None if self._respawn else [LogInfo(msg=lost)]
        raise ConfigError(f"{self._name} can't work as configured (see its last line); stopping")


def _process(spec: ProcessSpec, request: LaunchRequest) -> Action:
    common: dict[str, Any] = {
        "prefix": f"nice -n {spec.nice}" if spec.nice else None,
        "additional_env": {**spec.environment(os.environ), SUPERVISOR_PID: str(os.getpid())},
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
