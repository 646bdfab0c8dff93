"""Which processes make a fleet: the one description behind `floop demo` and `floop up`."""

from __future__ import annotations

from pathlib import Path

from floop_robot.processes.supervisor import ProcessSpec
from floop_robot.spec.config import FloopConfig, save_config

CONFIG_FILE = "floop.yaml"


def write_config(config: FloopConfig) -> Path:
    """Store the effective configuration in the run directory, where every process reads it."""
    path = Path(config.run_dir) / CONFIG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    save_config(config, path)
    return path


def central_processes(config: FloopConfig, config_file: Path) -> list[ProcessSpec]:
    """Ingest, learner, gate, explorers and fleet manager."""
    common = ("--config", str(config_file))
    explorers = [
        ProcessSpec(
            name=f"explorer_{i + 1}",
            module="explorer",
            arguments=(*common, "--index", str(i)),
            nice=config.learner.nice,
        )
        for i in range(config.explorers)
    ]
    return [
        ProcessSpec(name="ingest", module="ingest", arguments=common),
        ProcessSpec(name="fleet_manager", module="fleet_manager", arguments=common),
        ProcessSpec(name="gate", module="gate", arguments=common, nice=config.gate.nice),
        ProcessSpec(name="learner", module="learner", arguments=common, nice=config.learner.nice),
        *explorers,
    ]


def robot_processes(config: FloopConfig, config_file: Path, robot: str) -> list[ProcessSpec]:
    """Driver (simulated), safety and policy of one robot."""
    arguments = ("--config", str(config_file), "--robot", robot)
    parts = ("sim_robot", "safety", "policy")
    return [ProcessSpec(name=f"{robot}.{part}", module=part, arguments=arguments) for part in parts]


def simulated_fleet(config: FloopConfig, config_file: Path) -> list[ProcessSpec]:
    """Every process of a fleet of simulated robots."""
    robots = [spec for name in config.robot_names for spec in robot_processes(config, config_file, name)]
    return [*central_processes(config, config_file), *robots]
