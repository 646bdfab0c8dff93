"""ProcessSpec: how one process of a fleet is started."""

from __future__ import annotations

import re
import sys

import msgspec


class RosNode(msgspec.Struct, frozen=True, kw_only=True):
    """How ROS starts a process as one of its nodes."""

    executable: str
    """File in `lib/floop_robot/` of the installation, and module in a sub-package of `floop_robot/ros/`."""
    namespace: str
    parameters: tuple[tuple[str, str], ...]
    params_file: str = ""
    """YAML file whose parameters replace the ones above; empty for none."""

    def arguments(self) -> tuple[str, ...]:
        """Return the same as arguments of a command line."""
        given = [word for name, value in self.parameters for word in ("-p", f"{name}:={value}")]
        file = ("--params-file", self.params_file) if self.params_file else ()
        return ("--ros-args", "-r", f"__ns:={self.namespace}", *given, *file)


class ProcessSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the fleet."""

    name: str
    module: str
    """Name of a file in `floop_robot/services/`; with dots: a module that can be run by itself."""
    arguments: tuple[str, ...]
    nice: int = 0
    """Nice value, added to the supervisor's own."""
    node: RosNode | None = None
    """The same process as a ROS node, for launch files."""

    @property
    def part(self) -> str:
        """Its kind, the same with ROS and without: `policy`, `explorer`, `ingest` and so on."""
        return re.sub(r"_\d+$", "", self.name.rpartition(".")[2])

    @property
    def robot(self) -> str:
        """The robot that it belongs to; empty for a central process."""
        return self.name.rpartition(".")[0]

    @property
    def command(self) -> tuple[str, ...]:
        """The command line."""
        entry = (self.module,) if "." in self.module else ("floop_robot.services.entry", self.module)
        return (*self._priority, sys.executable, "-m", *entry, *self.arguments)

    @property
    def _priority(self) -> tuple[str, ...]:
        return ("nice", "-n", str(self.nice)) if self.nice else ()
