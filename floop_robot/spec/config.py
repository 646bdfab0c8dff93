"""FloopConfig: one typed configuration for every process, the CLI, launch files and Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from floop_robot.spec.cores import explorers_for, gate_workers_for, usable_cores
from floop_robot.spec.errors import did_you_mean
from floop_robot.spec.faults import Fields
from floop_robot.spec.hyperparameters import AlgorithmSettings, PpoSettings, SacSettings
from floop_robot.spec.ranges import Count, Device, Fraction, NotNegative, Positive, Size
from floop_robot.spec.tasks import get_task, task_ids
from floop_robot.spec.yaml_file import convert, read_fields

RateHz = Annotated[float, Meta(gt=0, le=1000)]
"""1000 Hz is the fastest that arms take commands."""

Auto = Literal["auto"]
"""Chosen by the number of cores of the host that the process runs on."""

ENDPOINT_NAMES: Final = ("ingest", "tail", "weights", "gate", "fleet", "fleet_rpc", "learner")
"""The endpoints, in the order of their ports."""


class Endpoints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the central processes listen. Robots open no port: they connect to these."""

    host: str = "127.0.0.1"
    """Address of the central host, as robots reach it; the default serves this machine only."""
    base_port: Annotated[int, Meta(ge=1024, le=65000)] = 5550
    """First of seven ports in a row: ingest, tail, weights, gate, fleet, fleet_rpc, learner."""

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

    @property
    def is_local(self) -> bool:
        """Whether robots of no other host can reach the central processes."""
        return self.host.startswith("127.") or self.host in ("localhost", "[::1]")


class RobotConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a robot runs."""

    model: str = "panda"
    """Robot model: a name in `config/robots/`, or the path of a YAML file."""
    servo_rate_hz: RateHz = 50.0
    """How often the safety process sends a command to the driver, Hz; at least the policy rate of the task."""
    spool_limit_mb: Positive = 256.0
    """Largest size of undelivered records on a robot's disk, MB; beyond it, new records are dropped and counted."""
    sync_interval_s: Positive = 0.2
    """Longest time that a record waits for the disk, s; a power cut loses no more than that."""
    observation_timeout_s: Annotated[float, Meta(gt=0, le=2)] = 0.1
    """Age at which a robot state is stale, s; the arm then makes a controlled stop."""


class LearnerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the learner learns."""

    algo: str = "sac"
    """Algorithm: `sac` or `ppo`."""
    sac: SacSettings = msgspec.field(default_factory=SacSettings)
    """Hyper-parameters of SAC; what is left out is as the policy was trained."""
    ppo: PpoSettings = msgspec.field(default_factory=PpoSettings)
    """Hyper-parameters of PPO; what is left out is as the policy was trained."""
    device: Device = "cpu"
    """Where gradient steps are computed: `cpu`, `cuda`, or `auto`: a GPU where there is one and a hidden layer has 128
    units or more. PPO computes on the CPU."""
    candidate_interval_s: Positive = 3.0
    """Shortest time between two candidates for the gate, s."""
    weights_interval_s: Positive = 0.5
    """How often live weights are sent to the explorers, s."""
    checkpoint_interval_s: Positive = 5.0
    """How often the learner's state is written to disk, s; a killed learner loses no more training than that."""
    nice: Count = 5
    """Nice value of the learner; it runs behind robots and gate, for which the fleet waits."""

    @property
    def settings(self) -> AlgorithmSettings:
        """Hyper-parameters of the chosen algorithm, as far as they were said."""
        return self.ppo if self.algo == "ppo" else self.sac


class GateConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a candidate must show. Defined in docs/design/gate.md."""

    workers: Size | Auto = "auto"
    """Processes that simulate episodes; `auto`: half of the cores, 2 to 8; 1 on one core."""
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05
    """Probability of accepting any candidate that is no better, however many are tried against one incumbent while the
    same classes fail. Another incumbent or other failing classes begin anew."""
    regression_accept: Fraction = 0.95
    """Success on known tasks that a good policy has; the regression test accepts it."""
    regression_reject: Fraction = 0.85
    """Success on known tasks that the regression test must refuse."""
    max_pairs: Count = 300
    """Most paired episodes on failing tasks; without a result by then, the trial is inconclusive."""
    max_regression_pairs: Count = 240
    """Most paired episodes on known tasks; without a result by then, the trial is inconclusive."""
    cooldown_share: NotNegative = 0.5
    """Pause after a refused candidate while nothing fails, as a share of its trial's duration. It leaves the
    processors to the learner."""
    max_cooldown_s: NotNegative = 5.0
    """Longest such pause, s. After a long trial the next candidate may be good enough, so it is not kept waiting."""
    trials_while_healthy: bool = False
    """Whether candidates are judged while nothing fails, too: one that is faster on known tasks may then follow."""
    nice: Count = 0
    """Nice value of the gate's processes; 0 lets them run before learner and explorers."""

    @property
    def worker_count(self) -> int:
        """Number of workers on this host."""
        return gate_workers_for(usable_cores()) if self.workers == "auto" else self.workers


class DeployConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How versions are spread and watched."""

    heartbeat_s: Positive = 0.5
    """How often robots report to the fleet manager, s."""
    watch_s: Positive = 20.0
    """Longest time that a version is watched, s; then the next may follow it without a verdict of the monitor."""
    confirm_success: Fraction = 0.8
    """Lower bound of live success at which a version is confirmed. A policy of 95 % shows 80 % in 32 episodes, one of
    80 % never does: lower it where nobody does better."""
    alpha: Annotated[float, Meta(gt=0, lt=0.5)] = 0.05
    """Probability of rolling back a version that is as good as the one before."""
    canary: str = ""
    """Robot that may try candidates for tasks that can't be simulated, before all others; empty: none does."""
    canary_s: Positive = 120.0
    """Longest time that it tries one, s; without a result by then, it gets the fleet's version back."""


class StorageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a fleet keeps on the central disk; the oldest goes first. What learner and monitors need stays."""

    journal_gb: Positive = 20.0
    """Largest size of the journal, GB. The newest 250,000 transitions stay, whatever their size."""
    journal_days: Positive = 30.0
    """Age at which records leave the journal, days."""
    registry_gb: Positive = 5.0
    """Largest size of the registry, GB. Versions, commands and the newest 10,000 episodes stay."""
    registry_days: Positive = 90.0
    """Age at which single episodes, labels and candidates leave the registry, days; what was counted stays."""
    reports_mb: Positive = 200.0
    """Largest size of the gate's reports, MB."""
    reports_days: Positive = 30.0
    """Age at which the gate's reports are removed, days."""
    log_mb: Positive = 20.0
    """Largest size of the log of one process, MB: half of it in the file written now, half in the one before."""


class FloopConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a fleet needs to start."""

    task: str = "floop/Pick-v0"
    """Task of all robots: a Gymnasium id."""
    robots: Annotated[int, Meta(ge=1, le=64)] = 4
    """Number of robots; they are called robot_1, robot_2 and so on."""
    explorers: Annotated[int, Meta(ge=0, le=64)] | Auto = "auto"
    """Number of simulated workers that act on the learner's live weights; `auto`: half of the cores, 4 at most.

    Without any, learning starves.
    """
    seed: Count = 0
    """Seed of everything random, so that a run can be repeated."""
    run_dir: str = "runs/fleet"
    """Folder for journal, registry, spools, reports and logs of this fleet."""
    baseline: str = ""
    """Policy bundle to start from; empty means the one shipped for the task."""
    operators: str = ""
    """Token file of those who may reset e-stops and change versions; empty means that a name is enough."""
    endpoints: Endpoints = msgspec.field(default_factory=Endpoints)
    """Where the central processes listen."""
    robot: RobotConfig = msgspec.field(default_factory=RobotConfig)
    """How each robot runs."""
    learner: LearnerConfig = msgspec.field(default_factory=LearnerConfig)
    """How the learner learns."""
    gate: GateConfig = msgspec.field(default_factory=GateConfig)
    """What a candidate must show."""
    deploy: DeployConfig = msgspec.field(default_factory=DeployConfig)
    """How versions are spread and watched."""
    storage: StorageConfig = msgspec.field(default_factory=StorageConfig)
    """How much is kept on the central disk."""

    @property
    def explorer_count(self) -> int:
        """Number of explorers on this host."""
        return explorers_for(usable_cores()) if self.explorers == "auto" else self.explorers

    @property
    def robot_names(self) -> tuple[str, ...]:
        """Names of the fleet's robots, as in REP 135 namespaces."""
        return robot_names(self.robots)


def load_config(path: Path | None) -> FloopConfig:
    """Read a YAML configuration, or the defaults when no path is given; raises `WrongFields` or `ConfigError`."""
    if path is None:
        return FloopConfig()
    fields = read_config(path)
    fields.check()
    return convert(fields.raw, FloopConfig, str(path))


def read_config(path: Path) -> Fields:
    """The fields of a configuration, and all that is wrong with them; raises `ConfigError` for what is no YAML."""
    fields = read_fields(path, FloopConfig)
    task, algo, rate_hz = fields.get("task"), fields.get("learner.algo"), fields.get("robot.servo_rate_hz")
    if task is not None and task not in task_ids():
        fields.wrong("task", f"unknown task {task!r}; {did_you_mean(task, task_ids())}")
    elif task is not None and rate_hz is not None and rate_hz < (least := get_task(task).spec.policy_rate_hz):
        fields.wrong(
            "robot.servo_rate_hz",
            f"{rate_hz:g} is too slow: policies of {task} send a target {least:g} times a second; "
            f"use {least:g} or more",
        )
    _host(fields)
    for field in ("run_dir", "baseline", "operators", "robot.model"):
        if (name := fields.get(field) or "").startswith("~"):
            fields.wrong(field, f"{name} begins with ~, which only a shell understands; write the whole path")
    if fields.get("run_dir") == "":
        fields.wrong("run_dir", "is empty; name the folder")
    if algo not in (None, "sac", "ppo"):
        fields.wrong("learner.algo", f"{algo!r} is no algorithm; use sac or ppo")
    canary, robots = fields.get("deploy.canary"), fields.get("robots")
    if canary and robots and canary not in (names := robot_names(robots)):
        fields.wrong("deploy.canary", f"unknown robot {canary!r}; {did_you_mean(canary, names)}")
    accept, reject = fields.get("gate.regression_accept"), fields.get("gate.regression_reject")
    if accept is not None and reject is not None and not 0.0 < reject < accept < 1.0:
        fields.wrong(
            "gate.regression_reject",
            f"{reject:g} and gate.regression_accept {accept:g} do not fit; "
            "use 0 < regression_reject < regression_accept < 1",
        )
    return fields


def _host(fields: Fields) -> None:
    """An address alone: no scheme, no port."""
    host = fields.get("endpoints.host")
    if host is not None and not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%\w+)?\]", host, re.ASCII):
        cure = "write a host's name or address alone, such as 10.0.0.5; its port is endpoints.base_port"
        fields.wrong("endpoints.host", f"{host!r} is no host; {cure}")


def robot_names(count: int) -> tuple[str, ...]:
    """Names of a fleet's robots, as in REP 135 namespaces."""
    return tuple(f"robot_{i + 1}" for i in range(count))


def save_config(config: FloopConfig, path: Path) -> None:
    """Write the effective configuration beside the run it made."""
    path.write_bytes(msgspec.yaml.encode(config))
