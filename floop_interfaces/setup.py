"""Builds the interfaces as a wheel, on a machine whose ROS came from PyPI.

The CMakeLists.txt that colcon uses does the work. What it installs goes below `sys.prefix`, where the ros-* wheels keep
theirs, so that ament and the loader find it. The wheel fits the ROS it was built against and no other; it says so in
its version and its requirements. Where ROS itself is installed, use colcon instead.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build import build

HERE = Path(__file__).resolve().parent
PACKAGE = ElementTree.parse(HERE / "package.xml").getroot()
NAME, VERSION = PACKAGE.findtext("name", ""), PACKAGE.findtext("version", "")
LINKED = tuple(
    f"ros-{name}"
    for name in ("rclpy", "action-msgs", "builtin-interfaces", "geometry-msgs", "service-msgs", "std-msgs")
)
TOOLS = ("ament_cmake", "rosidl_generator_py", "rosidl_typesupport_fastrtps_c")


def built_against() -> dict[str, str]:
    """Installed version of each wheel the result is linked to; ends with one line when some are missing."""
    found, missing = {}, [t for t in TOOLS if not (Path(sys.prefix) / "share" / t / "package.xml").is_file()]
    for name in LINKED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise SystemExit(
            f"{NAME}: {', '.join(missing)} not found in {sys.prefix}; run `make setup-ros`, or install "
            "floop_interfaces/requirements-jazzy.txt there and use pip's --no-build-isolation"
        )
    return found


class BinaryDistribution(Distribution):
    """Makes the wheel's tag name this Python and this platform."""

    def has_ext_modules(self) -> bool:
        """Whether there is compiled code: there is, though setuptools doesn't compile it."""
        return True


class BuildInterfaces(build):
    """Runs CMake, and hands its installed files to setuptools."""

    def initialize_options(self) -> None:
        """Builds against different ROS keep apart."""
        super().initialize_options()
        self.build_base = f"build/rclpy{WHEELS['ros-rclpy']}"

    def run(self) -> None:
        """Build; raises `CalledProcessError` when CMake fails."""
        work = Path(self.build_base).resolve() / "cmake"
        stage = work / "stage"
        for leftover in (stage, *work.parent.glob("bdist.*")):  # of a build that was cut off
            shutil.rmtree(leftover, ignore_errors=True)
        self._cmake(work, stage)
        site = stage / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        package = Path(self.build_lib) / NAME
        shutil.rmtree(package, ignore_errors=True)  # of an earlier build, maybe against another ROS
        shutil.copytree(site / NAME, package)
        shutil.rmtree(site)
        folders: dict[str, list[str]] = {}
        for path in sorted(p for p in stage.rglob("*") if p.is_file()):
            folders.setdefault(str(path.parent.relative_to(stage)), []).append(os.path.relpath(path))
        self.distribution.data_files = list(folders.items())
        super().run()

    @staticmethod
    def _cmake(work: Path, stage: Path) -> None:
        # The tools that CMake starts are Python programs that import the generators.
        environment = os.environ | {
            "AMENT_PREFIX_PATH": sys.prefix,
            "CMAKE_PREFIX_PATH": sys.prefix,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            # cmake and ninja of this environment, whether it is activated or not.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        cmake = shutil.which("cmake", path=environment["PATH"]) or "cmake"
        configure = [cmake, "-S", str(HERE), "-B", str(work), "-G", "Ninja", f"-DCMAKE_INSTALL_PREFIX={stage}"]
        options = [f"-DPython3_EXECUTABLE={sys.executable}", "-DBUILD_TESTING=OFF", "-DFLOOP_PYTHON_ONLY=ON"]
        subprocess.run([*configure, *options], env=environment, check=True)
        subprocess.run([cmake, "--build", str(work), "--target", "install"], env=environment, check=True)


WHEELS = built_against()
setup(
    name=NAME,
    version=f"{VERSION}+rclpy{WHEELS['ros-rclpy']}",
    description=PACKAGE.findtext("description", ""),
    license=PACKAGE.findtext("license", ""),
    packages=[],
    install_requires=[f"{name}=={version}" for name, version in WHEELS.items()],
    distclass=BinaryDistribution,
    cmdclass={"build": BuildInterfaces},
)
