"""Packaging. package.xml describes the same package to ROS; pyproject.toml holds the tools' settings."""

from distutils.command.install_data import install_data
from pathlib import Path

from setuptools import Extension, find_packages, setup

PACKAGE = "floop_robot"
NODES = ("policy_node", "safety_node", "sim_robot_node", "cell_node", "fleet_manager_node", "learner_node")
WRAPPER = """#!/bin/sh
exec "$(dirname "$(readlink -f "$0")")/../../bin/{name}" "$@"
"""

ROBOT = [
    "numpy>=1.26",
    "msgpack>=1.0",
    "msgspec>=0.19",
    "safetensors>=0.5",
    "pyzmq>=26",
    "pyyaml>=6",
    "click>=8.1",
    "rich>=13",
]
SIM = ["pybullet>=3.2.7", "gymnasium>=1.1"]
LEARN = ["torch>=2.4", "stable-baselines3>=2.6"]
TENSORBOARD = ["tensorboard>=2.17"]
VIDEO = ["av>=13"]
REPORT = ["matplotlib>=3.8", "pillow>=10"]
DEV = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "psutil>=5.9",
    "ruff>=0.8",
    "mypy>=1.13",
    "import-linter>=2.1",
    "types-PyYAML",
]


class InstallNodes(install_data):
    """Puts the nodes where `ros2 run` and launch look for them, `lib/floop_robot/`, when pip builds a wheel.

    pip takes scripts to `bin/` only. colcon needs none of this: it follows `install_scripts` in setup.cfg.
    """

    def run(self):
        """Install the data files, and for each node a script that calls the one in `bin/`."""
        super().run()
        if "bdist_wheel" not in self.distribution.command_obj:
            return
        folder = Path(self.install_dir) / "lib" / PACKAGE
        folder.mkdir(parents=True, exist_ok=True)
        for name in NODES:
            path = folder / name
            path.write_text(WRAPPER.format(name=name))
            path.chmod(0o755)
            self.outfiles.append(str(path))


# The SAC update compiled for two kinds of processors (floop_robot/learn/compiled_update.py picks one when it runs).
# Optional: where there is no compiler, or another processor, floop installs without it and computes in numpy.
INSTRUCTIONS = {"avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx2", "-mfma"], "avx2": ["-mavx2", "-mfma"]}
NATIVE = PACKAGE + "/learn/native/"
SAC_UPDATES = [
    Extension(
        f"{PACKAGE}.learn._sac_update_{name}",
        [NATIVE + "sac_update.c"],
        depends=[NATIVE + "networks.h", NATIVE + "panels.h"],
        # Without errno and floating-point traps, loops over square roots and conditions are vectorised.
        extra_compile_args=["-std=gnu99", "-O3", "-g0", "-fno-math-errno", "-fno-trapping-math", *flags],
        libraries=["m"],
        py_limited_api=True,
        optional=True,
    )
    for name, flags in INSTRUCTIONS.items()
]
# The same for what a central process drops of a hostile message (floop_robot/transport/pass_over.py).
PASS_OVER = Extension(
    f"{PACKAGE}.transport._pass_over",
    [PACKAGE + "/transport/native/pass_over.c"],
    extra_compile_args=["-std=gnu99", "-O2", "-g0"],
    py_limited_api=True,
    optional=True,
)


def files(pattern: str) -> list[str]:
    """Paths of the files that match, relative to here as setuptools wants them."""
    return [str(path) for path in sorted(Path().glob(pattern)) if path.is_file()]


setup(
    name=PACKAGE,
    version="0.1.0",
    description="The tightest learn-deploy-feedback loop for fleets of robot arms",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=[PACKAGE, PACKAGE + ".*"]),
        *find_packages("envs"),
        *find_packages("policies"),
    ],
    # Only these two are mapped: mapping floop_robot as well breaks editable installs for type checkers.
    package_dir={"floop_envs": "envs/floop_envs", "floop_policies": "policies/floop_policies"},
    package_data={PACKAGE: ["py.typed"], "floop_policies": ["**/*.yaml", "**/*.floop", "**/*.learner"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/" + PACKAGE]),
        ("share/" + PACKAGE, ["package.xml"]),
        ("share/" + PACKAGE + "/launch", files("launch/*.launch.*")),
        ("share/" + PACKAGE + "/config", files("config/*.yaml")),
        ("share/" + PACKAGE + "/config/drivers", files("config/drivers/*")),
        ("share/" + PACKAGE + "/config/robots", files("config/robots/*")),
        ("share/" + PACKAGE + "/config/rviz", files("config/rviz/*")),
        ("share/" + PACKAGE + "/config/foxglove", files("config/foxglove/*")),
    ],
    ext_modules=[*SAC_UPDATES, PASS_OVER],
    # The compiled code doesn't use Python's API: one wheel serves every Python.
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
    install_requires=ROBOT,
    extras_require={
        "sim": SIM,
        "learn": LEARN,
        "report": REPORT,
        "tensorboard": TENSORBOARD,
        "video": VIDEO,
        "all": SIM + LEARN + REPORT + TENSORBOARD,
        "dev": DEV,
    },
    entry_points={
        "console_scripts": [
            "floop = floop_robot.cli.main:main",
            *(f"{name} = {PACKAGE}.ros.{name.split('_')[0]}.{name}:main" for name in NODES),
        ]
    },
    cmdclass={"install_data": InstallNodes},
    zip_safe=False,
)
