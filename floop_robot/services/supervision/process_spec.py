"""ProcessSpec: how one process of a fleet is started."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Final

import msgspec

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Many processes compute small matrix products: more threads in each would only compete for the cores."""
HUGE_PAGES: Final = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Python's objects in glibc's heap, and that in huge pages: for processes that sleep between two ticks.

After each sleep most addresses have to be looked up anew. Fewer pages saved a sixth of the robots' processor time
(docs/design/ros.md). Kernels without huge pages and other C libraries ignore the second variable, not the first.
"""


class RosNode(msgspec.Struct, frozen=True, kw_only=True):
    """How ROS starts a process as one of its nodes."""

    executable: str
    """File in `lib/floop_robot/` of the installation, and module in a sub-package of `floop_robot/ros/`."""
    namespace: str
    """Within the fleet's site: a robot's name, `fleet` or `learner`."""
    parameters: tuple[tuple[str, str], ...]
    params_file: str = ""
    """YAML file whose parameters replace the ones above; empty for none."""

    def arguments(self) -> tuple[str, ...]:
        """Return the same as arguments of a command line."""
        given = [word for name, value in self.parameters for word in ("-p", f"{name}:={value}")]
        file = ("--params-file", self.params_file) if self.params_file else ()
        return ("--ros-args", "-r", f"__ns:=/{self.namespace}", *given, *file)


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

    def in_namespace(self, namespace: str) -> ProcessSpec:
        """The same process with its node in another namespace; without a node, itself."""
        if self.node is None:
            return self
        return msgspec.structs.replace(self, node=msgspec.structs.replace(self.node, namespace=namespace))

    @property
    def part(self) -> str:
        """Its kind, the same with ROS and without: `policy`, `explorer`, `ingest` and so on."""
        return re.sub(r"_\d+$", "", self.name.rpartition(".")[2])

    @property
    def robot(self) -> str:
        """The robot that it belongs to; empty for a central process."""
        return self.name.rpartition(".")[0]

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """Variables that it needs beside those `given`; memory is left to who already set how it is managed.

        No huge pages for safety: to find one, the kernel may move memory about while a real-time thread waits.
        """
        has_huge_pages = self.robot and self.part != "safety" and not given.keys() & HUGE_PAGES.keys()
        memory = HUGE_PAGES if has_huge_pages else {}
        return {**ONE_THREAD, **memory}

    @property
    def command(self) -> tuple[str, ...]:
        """The command line."""
        entry = (self.module,) if "." in self.module else ("floop_robot.services.entry", self.module)
        return (*self._priority, sys.executable, "-m", *entry, *self.arguments)

    @property
    def _priority(self) -> tuple[str, ...]:
        return ("nice", "-n", str(self.nice)) if self.nice else ()
