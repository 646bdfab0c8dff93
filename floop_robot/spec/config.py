"""FloopConfig: one typed configuration for every process, the CLI, launch files and Docker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.hyperparameters import AlgorithmSettings, FleetSacSettings, PpoSettings
from floop_robot.spec.tasks import get_task, task_ids
from floop_robot.spec.yaml_file import read_yaml

Positive = Annotated[float, Meta(gt=0, le=1e6)]
"""Finite: no timer waits for infinity, and eleven days of seconds still fit every one of them in milliseconds."""
RateHz = Annotated[float, Meta(gt=0, le=1000)]
"""Up to what arms take."""
NotNegative = Annotated[float, Meta(ge=0, le=1e6)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Count = Annotated[int, Meta(ge=0)]


ENDPOINT_NAMES: Final = ("ingest", "tail", "weights", "gate", "fleet", "fleet_rpc", "learner")
"""The endpoints, in the order of their ports."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Central ports. Robots open none: they connect out."""

    host: str = "127.0.0.1"
    base_port: Annotated[int, Meta(ge=1024, le=65000)] = 5550
    """The first of `ENDPOINT_NAMES`."""

    def _at(self, name: str) -> str:
        return f"tcp://{self.host}:{self.base_port + ENDPOINT_NAMES.index(name)}"

    @property
    def ingest(self) -> str:
        """Records in (ROUTER of the ingest process)."""
        return self._at("ingest")

    @property
    def tail(self) -> str:
        """Ranges and the live tail of the journal out (ROUTER of the ingest process)."""
        return self._at("tail")

    @property
    def weights(self) -> str:
        """Live weights of the learner, for explorers (PUB of the learner)."""
        return self._at("weights")

    @property
    def gate(self) -> str:
        """Candidates in (ROUTER of the gate)."""
        return self._at("gate")

    @property
    def fleet(self) -> str:
        """Policy announcements out (PUB of the fleet manager)."""
        return self._at("fleet")

    @property
    def fleet_rpc(self) -> str:
        """Snapshots, receipts, heartbeats, verdicts and operator calls (ROUTER of the fleet manager)."""
        return self._at("fleet_rpc")

    @property
    def learner(self) -> str:
        """Status, pause and checkpoint of the learner (ROUTER of the learner)."""
        return self._at("learner")


class RobotConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a robot runs."""

    model: str = "panda"
    servo_rate_hz: RateHz = 50.0
    spool_limit_mb: Positive = 256.0
    sync_interval_s: Positive = 0.05
    """Longest time a record waits before the spool is synced to disk."""
    observation_timeout_s: Positive = 0.1
    """A robot state older than this is stale: controlled stop."""


class LearnerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the learner learns."""

    algo: str = "sac"
    """Algorithm: `sac` or `ppo`."""
    sac: FleetSacSettings = msgspec.field(default_factory=FleetSacSettings)
    ppo: PpoSettings = msgspec.field(default_factory=PpoSettings)
    candidate_interval_s: Positive = 3.0
    weights_interval_s: Positive = 0.5
    checkpoint_interval_s: Positive = 5.0
    nice: Count = 5
    """Behind whatever robots wait for, and behind the gate: a verdict that waits is an improvement that waits."""

    @property
    def settings(self) -> AlgorithmSettings:
        """Hyper-parameters of the chosen algorithm."""
        return self.ppo if self.algo == "ppo" else self.sac


class GateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a candidate must show. Defined in docs/design/gate.md."""

    workers: Annotated[int, Meta(ge=1)] = 1
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05
    regression_accept: Fraction = 0.95
    """Guard on old work: success that a good policy has …"""
    regression_reject: Fraction = 0.85
    """… and success that must be refused."""
    max_pairs: Count = 60
    max_regression_pairs: Count = 120
    cooldown_share: NotNegative = 0.5
    """Pause after a candidate that was not accepted, in durations of its trial: meanwhile learner and explorers, which
    share the processors with the gate, come nearer to one that is."""
    max_cooldown_s: NotNegative = 5.0
    """A long trial is one of a candidate that was nearly good enough: the next may be."""
    warmup_s: NotNegative = 6.0
    """Pause before the first trial when a class of work begins to fail: a candidate that has learned from the failures
    for a second is hardly worth the processors that the learner needs most just then."""
    nice: Count = 0
    """Before learner and explorers: a verdict that waits is an improvement that waits."""


class DeployConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How versions are spread and watched."""

    heartbeat_s: Positive = 0.5
    watch_s: Positive = 20.0
    """Longest time a version is watched before the next may follow it without a verdict."""
    confirm_success: Fraction = 0.6
    """Live success that must be shown (lower bound) before a version counts as the fix. To show it, a policy of 80 %
    needs 35 episodes on average; 70 % would take it 150, and the time to improvement would speak of a later version."""
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05


class FloopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a fleet needs to start."""

    task: str = "floop/Pick-v0"
    robots: Annotated[int, Meta(ge=1, le=64)] = 4
    explorers: Annotated[int, Meta(ge=0, le=64)] = 1
    seed: Count = 0
    run_dir: str = "runs/fleet"
    baseline: str = ""
    """Policy bundle to start from; empty means the one shipped for the task."""
    operators: str = ""
    """Token file of those who may release stops and change versions; empty: a name is enough."""
    endpoints: Endpoints = msgspec.field(default_factory=Endpoints)
    robot: RobotConfig = msgspec.field(default_factory=RobotConfig)
    learner: LearnerConfig = msgspec.field(default_factory=LearnerConfig)
    gate: GateConfig = msgspec.field(default_factory=GateConfig)
    deploy: DeployConfig = msgspec.field(default_factory=DeployConfig)

    @property
    def robot_names(self) -> tuple[str, ...]:
        """Names of the fleet's robots, as in REP 135 namespaces."""
        return tuple(f"robot_{i + 1}" for i in range(self.robots))


def load_config(path: Path | None) -> FloopConfig:
    """Read a YAML configuration, or the defaults when no path is given; errors name field and nearest valid one."""
    config = read_yaml(path, FloopConfig) if path else FloopConfig()
    if config.task not in task_ids():
        raise UnknownName("task", config.task, task_ids(), str(path))
    if config.learner.algo not in ("sac", "ppo"):
        raise ConfigError(f"{path}: learner.algo is {config.learner.algo!r}; use sac or ppo")
    policy_rate_hz = get_task(config.task).spec.policy_rate_hz
    if config.robot.servo_rate_hz < policy_rate_hz:
        raise ConfigError(
            f"{path}: robot.servo_rate_hz is {config.robot.servo_rate_hz:g}, but policies of {config.task} send a"
            f" target {policy_rate_hz:g} times a second; use {policy_rate_hz:g} or more"
        )
    gate = config.gate
    if not 0.0 < gate.regression_reject < gate.regression_accept < 1.0:
        raise ConfigError(
            f"{path}: gate.regression_reject is {gate.regression_reject:g} and gate.regression_accept {gate.regression_accept:g}; "
            "use 0 < regression_reject < regression_accept < 1"
        )
    if gate.max_regression_pairs < gate.max_pairs:
        raise ConfigError(
            f"{path}: gate.max_regression_pairs is {gate.max_regression_pairs} and gate.max_pairs {gate.max_pairs}, but a candidate that is "
            "likely better gets max_regression_pairs pairs; use max_regression_pairs >= max_pairs"
        )
    return config


def save_config(config: FloopConfig, path: Path) -> None:
    """Write the effective configuration beside the run it made."""
    path.write_bytes(msgspec.yaml.encode(config))
