"""The loop as ROS 2 nodes: topics, services, parameters and life cycle around rooms that know nothing of ROS."""

import importlib.util
import signal
import sys

for _module in ("msgspec", "safetensors"):
    # colcon installs no Python packages, and rosdep knows no key for these two.
    if importlib.util.find_spec(_module) is None:
        raise ModuleNotFoundError(
            f"floop needs {_module}, which {sys.executable} does not find; docs/ros.md, Install, has the commands"
        )

if sys.argv[0] == "-m" or sys.argv[0].endswith("_node"):
    # This process becomes a node. ROS takes half a second to import, and its handlers come only after that. Until then
    # a signal ends the process at once, without a traceback from the middle of an import.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
