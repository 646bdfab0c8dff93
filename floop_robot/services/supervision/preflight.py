"""What `floop up` and the launch files check before they start anything: one line instead of processes that die."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from floop_robot.bundle import Bundle, verify
from floop_robot.deploy.registry import check_registry
from floop_robot.robot.operators import OperatorTokens
from floop_robot.services.fleet_manager import baseline_path, registry_path
from floop_robot.services.start_policy import refuse_zip, require_checkpoint
from floop_robot.services.supervision.ports import wait_until_free
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.supervisor import is_supervised
from floop_robot.spec.config import FloopConfig
from floop_robot.spec.driver_config import load_driver
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.extras import install_hint
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import RobotModel, load_robot
from floop_robot.spec.tasks import get_task

_SIMULATOR: Final = ("pybullet", "gymnasium")
MODULES: Final = {
    "sim_robot": _SIMULATOR,
    "explorer": _SIMULATOR,
    "gate": _SIMULATOR,
    "fitter": _SIMULATOR,
    "learner": ("torch", "stable_baselines3", "gymnasium"),
}
"""Kind of process → optional modules without which it ends as soon as it starts."""

SIMULATES: Final = ("sim_robot", "explorer", "fitter")
"""Kinds of processes that end where the arm cannot be simulated; the gate waits for candidates without."""
BINDS: Final = {
    "ingest": ("ingest", "tail"),
    "fleet_manager": ("fleet", "fleet_rpc"),
    "gate": ("gate",),
    "learner": ("weights", "learner"),
}
"""Kind of process → endpoints where it listens; all others connect."""
PORT_FREE_S: Final = 5.0
"""A fleet that was just stopped or killed leaves its ports within this time."""


def check_start(config: FloopConfig, specs: Sequence[ProcessSpec], driver: str = "") -> None:
    """Raise the errors with which these processes would end; nothing is written.

    `driver`: name or file of the drivers' description; empty for none.
    """
    check_modules(specs)
    rules, model = get_task(config.task), load_robot(config.robot.model)
    if driver:
        load_driver(driver, model)
    OperatorTokens(Path(config.operators) if config.operators else None)
    if registry_path(config).exists():
        check_registry(registry_path(config))
    elif any(spec.part == "fleet_manager" for spec in specs):
        path = baseline_path(config)
        refuse_zip(path)
        bundle = Bundle.load(path)
        verify(bundle, rules.spec, ids_of(rules, model), where=str(path))
        if any(spec.part == "learner" for spec in specs):
            require_checkpoint(path, bundle, config.learner.algo)
    check_simulation(model, specs)
    check_ports(config, specs)


def check_modules(specs: Iterable[ProcessSpec]) -> None:
    """Raise `ConfigError` when a process needs an optional module that is not installed."""
    for module in sorted({module for spec in specs for module in MODULES.get(spec.part, ())}):
        if not _is_installed(module):
            users = [spec.name for spec in specs if module in MODULES.get(spec.part, ())]
            names = ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
            raise ConfigError(f"{module} is not installed, and without it {names} can't run; {install_hint(module)}")


def check_simulation(model: RobotModel, specs: Iterable[ProcessSpec]) -> None:
    """Raise `ConfigError` when a process would have to simulate an arm that cannot be simulated."""
    parts = {spec.part for spec in specs} & set(SIMULATES)
    if not parts:
        return
    from floop_envs.simulated_urdf import check_gripper  # a robot may have no simulator

    try:
        check_gripper(model)
    except ConfigError as error:
        if "sim_robot" in parts:
            raise
        raise ConfigError(f"{error}; or set `explorers: 0`, which ends practice in the simulator") from None


def check_ports(config: FloopConfig, specs: Iterable[ProcessSpec]) -> None:
    """Raise `ConfigError` when a process could not listen because its port stays in use for `PORT_FREE_S`.

    What is supervised already in this run directory is left to the supervisor, which names it.
    """
    for spec in specs:
        if is_supervised(spec.name, Path(config.run_dir)):
            continue
        for name in BINDS.get(spec.part, ()):
            endpoint = getattr(config.endpoints, name)
            if not wait_until_free(endpoint, PORT_FREE_S, threading.Event()):
                where = endpoint.removeprefix("tcp://")
                raise ConfigError(
                    f"port {where.rpartition(':')[2]} is in use, and {spec.name} cannot listen on {where}; "
                    f"set another endpoints.base_port (now {config.endpoints.base_port}), or stop the other fleet"
                )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # somebody has put None in its place
        return False
