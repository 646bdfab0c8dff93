"""The launch file of an arm's driver: found, read and given its own arguments before anything starts."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path
from typing import Any, Final

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription, LogInfo, OpaqueFunction
from launch.launch_description_sources import AnyLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace

from floop_robot.ros.launching import LaunchRequest
from floop_robot.spec.errors import ConfigError, UnknownName

ARGUMENT: Final = "driver_launch"
KEPT: Final = ("ros_namespace", "ros_remaps", "global_params", "launch-prefix", "launch-prefix-filter", "emulate_tty")
"""What `launch` and launch_ros keep among the arguments, set by actions around ours: it holds for a driver, too."""


def include_driver(path: str, arguments: str, request: LaunchRequest) -> list[Action]:
    """Actions that include the launch file in the robot's namespace, with `arguments` alone.

    Raises `ConfigError` or `UnknownName` for a file that can't be found or read, and for arguments that do not fit it.
    """
    file = find_launch_file(path)
    source, given = AnyLaunchDescriptionSource(str(file)), parse_arguments(arguments)
    try:
        found = source.get_launch_description(request.context)
    except Exception as error:  # a launch file is a program
        raise ConfigError(f"{ARGUMENT}: {file} can't be read: {type(error).__name__}: {error}") from error
    notes = _check_arguments(file, found, given)
    group = GroupAction(
        [
            OpaqueFunction(function=_forget_arguments),
            PushRosNamespace(request.robot_namespace),
            IncludeLaunchDescription(source, launch_arguments=list(given.items())),
        ]
    )
    return [*(LogInfo(msg=line) for line in notes), group]


def find_launch_file(path: str) -> Path:
    """The file that `path` names, or that lies in a package where it is PACKAGE/FILE; raises `ConfigError`."""
    file = Path(path).expanduser()
    if file.is_file():
        return file.absolute()
    package, _, name = path.partition("/")
    if file.is_absolute() or not name:
        raise ConfigError(f"{ARGUMENT}: there is no file {path}; give its path, or PACKAGE/FILE")
    try:
        share = Path(get_package_share_directory(package))
    except (PackageNotFoundError, ValueError):
        raise ConfigError(f"{ARGUMENT}: there is neither a file {path} nor a package {package!r} here") from None
    found = sorted(each for each in share.rglob(Path(name).name) if str(each).endswith(f"/{name}"))
    if len(found) != 1:
        count = f"{len(found)} files are" if found else "no file is"
        raise ConfigError(f"{ARGUMENT}: {count} called {name} in the package {package} ({share})")
    return found[0]


def parse_arguments(words: str) -> dict[str, str]:
    """`name:=value name:=value`, quoted as in a shell; raises `ConfigError`."""
    try:
        split = shlex.split(words)
    except ValueError as error:
        raise ConfigError(f"driver_args:={words} can't be read: {error}") from None
    given = {}
    for word in split:
        name, sign, value = word.partition(":=")
        if not name or not sign:
            raise ConfigError(f"driver_args: {word} is not of the form name:=value")
        given[name] = value
    return given


def _check_arguments(file: Path, description: LaunchDescription, given: dict[str, str]) -> list[str]:
    """Returns what a person should know of arguments that the file declares nowhere: a function in it may read them.

    What only an included file must have, the file itself may give to it; `launch` checks that as it describes both.
    """
    found = description.get_launch_arguments_with_include_launch_description_actions()
    declared: dict[str, Any] = {argument.name: argument for argument, _ in found}
    own = [argument for argument, includes in found if includes is None]
    unknown = [name for name in given if name not in declared]
    for name in unknown:
        if difflib.get_close_matches(name, declared, n=1):
            raise UnknownName("launch argument", name, declared, str(file))
    missing = [
        argument.name
        for argument in own
        if argument.default_value is None and argument.name not in given and not argument._conditionally_included
    ]
    if missing:
        raise ConfigError(f"{file} must be given {', '.join(missing)}: driver_args:='{missing[0]}:=…'")
    return [f"{file} declares no launch argument {name}; it is set all the same" for name in unknown]


def _forget_arguments(context: LaunchContext) -> None:
    for name in set(context.launch_configurations) - set(KEPT):
        del context.launch_configurations[name]
