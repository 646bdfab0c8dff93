"""package.xml tells ROS what floop's nodes and launch files import. Needs no ROS."""

from __future__ import annotations

import ast
import xml.etree.ElementTree as ElementTree
from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_ROS = ("rclpy", "launch", "launch_ros", "floop_interfaces", "ament_index_python", "rosidl_parser")
INTERFACES = ("msg", "srv", "action")


def imported(path: Path) -> set[str]:
    """ROS packages that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
        for package, *rest in (module.split(".") for module in modules):
            if package in OF_ROS or (rest and rest[0] in INTERFACES):
                found.add(package)
    return found


def test_every_ros_package_that_is_imported_is_declared() -> None:
    paths = [*(ROOT / "floop_robot" / "ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    used = set().union(*map(imported, paths))
    assert {"rclpy", "launch_ros", "sensor_msgs"} <= used
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {node.text for tag in ("depend", "exec_depend") for node in package.findall(tag)}
    assert used - declared == set()
