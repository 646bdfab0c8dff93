"""Kills the processes of a simulated fleet in turn, while its world shifts and it learns, and reports what it cost.

The report shows that no acknowledged record is lost or doubled, and that each process comes back by itself.
At the end only robots and ingest are left running: the robots must go on without the others.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from floop_robot.demo.chaos_runner import AT_WORK, RESUME_TIMEOUT_S, ChaosRunner, KillRecord, is_at_work, steps_per_s
from floop_robot.demo.snapshot import Snapshot, SnapshotReader
from floop_robot.services.supervision.fleet_description import central_processes, simulated_fleet, write_config
from floop_robot.services.supervision.ports import reserved_base_port
from floop_robot.services.supervision.process_spec import ProcessSpec
from floop_robot.services.supervision.supervisor import Supervisor
from floop_robot.sim.sim_world import SimWorld, set_world
from floop_robot.spec.config import Endpoints, FloopConfig
from floop_robot.spec.errors import FloopError
from floop_robot.stream.journal_reader import JournalReader

TIME_LIMIT_S = 5.0
LEARNER_TIME_LIMIT_S = 15.0
START_TIMEOUT_S = 60.0
_PAUSE_S = 1.0
_POLL_S = 0.2
ProgressCallback = Callable[[str], None]


class KillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to kill of which fleet."""

    run_dir: Path
    robots: int = 4
    explorers: int = 1
    seed: int = 0
    shift: str = "new-object"
    """How the world shifts before the kills begin. The shift gives learner, gate and deployment work to do."""
    kills: int = 56
    """Number of kills, spread evenly over the kinds of processes in an order drawn from the seed."""
    names: tuple[str, ...] = ()
    """If given: kill exactly these processes, in this order."""
    undisturbed_s: float = 6.0
    """How long the robots' speed is measured before the kills."""
    alone_s: float = 8.0
    """How long it is measured when only robots and ingest are left."""


class KindResult(msgspec.Struct, frozen=True):
    """All kills of one kind of process."""

    kills: int
    median_s: float
    slowest_s: float
    bar_s: float
    at_work: str
    """What a process of this kind must do to count as back."""


class KillReport(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a run with kills."""

    kills: tuple[KillRecord, ...]
    kinds: dict[str, KindResult]
    rows_acked: int
    """Acknowledged records of the robots."""
    rows_missing: int
    """Acknowledged records that the journal does not hold."""
    rows_in_journal: int
    """Records of robots and explorers."""
    rows_lost: int
    """Gaps within a stream of the journal, and damaged blocks."""
    rows_doubled: int
    undisturbed_steps_per_s: float
    """Policy steps per second of an average robot before the kills, resets between episodes included."""
    others_steps_per_s: float
    """The same while another process was down, mean over the kills."""
    alone_steps_per_s: float
    """The same when only robots and ingest are left."""
    versions: int
    """The last policy version in production."""
    robots: int
    seed: int
    run_dir: str
    wall_s: float

    @property
    def failures(self) -> list[str]:
        """What misses its limit, a line each."""
        late = [
            f"{k.name} was {'not back within' if k.resumed_s >= RESUME_TIMEOUT_S else 'back after'} {k.resumed_s:.1f} s"
            for k in self.kills
            if k.resumed_s > time_limit_of(k.kind)
        ]
        rows = {"missing": self.rows_missing, "lost": self.rows_lost, "doubled": self.rows_doubled}
        wrong = [f"{count} acknowledged rows {what}" for what, count in rows.items() if count]
        idle = self.alone_steps_per_s < 0.5 * self.undisturbed_steps_per_s
        return late + wrong + (["the robots did not keep their speed without the central processes"] if idle else [])


def time_limit_of(kind: str) -> float:
    """Longest time, in seconds, until a process of this kind must be back at work."""
    return LEARNER_TIME_LIMIT_S if kind == "learner" else TIME_LIMIT_S


def kill_order(specs: list[ProcessSpec], kills: int, seed: int) -> tuple[str, ...]:
    """Choose the names to kill: each kind once per round in random order, robots in turn."""
    rng = np.random.default_rng(seed)
    by_kind: dict[str, list[str]] = {}
    for spec in specs:
        by_kind.setdefault(spec.part, []).append(spec.name)
    names: list[str] = []
    for number in range(-(-kills // len(by_kind))):
        for kind in rng.permutation(sorted(by_kind)):
            names.append(by_kind[kind][number % len(by_kind[kind])])
    return tuple(names[:kills])


def run_kills(plan: KillPlan, on_progress: ProgressCallback = lambda _: None) -> KillReport:
    """Run the fleet and the kills; raises `FloopError` when the fleet does not start."""
    with reserved_base_port() as base_port:
        return _run_kills(plan, on_progress, base_port)


def _run_kills(plan: KillPlan, on_progress: ProgressCallback, base_port: int) -> KillReport:
    start_s = time.monotonic()
    config = FloopConfig(
        robots=plan.robots,
        explorers=plan.explorers,
        seed=plan.seed,
        run_dir=str(plan.run_dir),
        endpoints=Endpoints(base_port=base_port),
    )
    config_file = write_config(config)
    set_world(plan.run_dir, SimWorld())
    specs = simulated_fleet(config, config_file)
    with Supervisor(specs, plan.run_dir) as fleet, SnapshotReader(config) as snapshots:
        chaos = ChaosRunner(fleet, snapshots)
        _start(chaos, plan.run_dir)
        set_world(plan.run_dir, SimWorld(plan.shift))
        on_progress("every process is at work; the world shifts")
        undisturbed = _pace(chaos, plan.undisturbed_s)
        kills = _kill_all(chaos, plan.names or kill_order(specs, plan.kills, plan.seed), plan.seed, on_progress)
        centre = [s.name for s in central_processes(config, config_file) if s.name != "ingest"]
        last = chaos.look()
        fleet.retire(centre)
        on_progress(f"now without {', '.join(centre)}")
        alone = _pace(chaos, plan.alone_s)
        fleet.retire([s.name for s in specs if s.part == "policy"])  # they send what is left in their spools
        chaos.look()
    return _report(config, kills, chaos, (undisturbed, alone), last, time.monotonic() - start_s)


def _start(chaos: ChaosRunner, run_dir: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_at_work(chaos.look()):
        if time.monotonic() > deadline:
            raise FloopError(f"the fleet did not start within {START_TIMEOUT_S:.0f} s; see {run_dir / 'logs'}")
        time.sleep(_POLL_S)


def _pace(chaos: ChaosRunner, period_s: float) -> float:
    before, start = chaos.look(), time.monotonic()
    time.sleep(period_s)
    return steps_per_s(before, chaos.look(), time.monotonic() - start)


def _kill_all(
    chaos: ChaosRunner, names: tuple[str, ...], seed: int, on_progress: ProgressCallback
) -> tuple[KillRecord, ...]:
    rng = np.random.default_rng((seed, 1))
    kills: list[KillRecord] = []
    for name in names:
        time.sleep(float(rng.uniform(0.0, _PAUSE_S)))  # any instant of whatever it does
        kills.append(chaos.kill(name))
        on_progress(f"{len(kills):3d} of {len(names)}  {name:<18} back after {kills[-1].resumed_s:.1f} s")
    return tuple(kills)


def _report(
    config: FloopConfig,
    kills: tuple[KillRecord, ...],
    chaos: ChaosRunner,
    paces: tuple[float, float],
    last: Snapshot,
    wall_s: float,
) -> KillReport:
    reader = JournalReader(Path(config.run_dir) / "journal.sqlite")
    try:
        audit, marks = reader.audit(), reader.high_water_marks()
    finally:
        reader.close()
    return KillReport(
        kills=kills,
        kinds={kind: _kind(kind, kills) for kind in sorted(Counter(k.kind for k in kills))},
        rows_acked=chaos.acks.records,
        rows_missing=chaos.acks.missing(marks),
        rows_in_journal=audit.records,
        rows_lost=audit.lost + audit.damaged,
        rows_doubled=audit.doubled,
        undisturbed_steps_per_s=paces[0],
        others_steps_per_s=float(np.mean([k.others_steps_per_s for k in kills])),
        alone_steps_per_s=paces[1],
        versions=last.fleet.production if last.fleet else 0,
        robots=config.robots,
        seed=config.seed,
        run_dir=config.run_dir,
        wall_s=wall_s,
    )


def _kind(kind: str, kills: tuple[KillRecord, ...]) -> KindResult:
    times = [k.resumed_s for k in kills if k.kind == kind]
    return KindResult(len(times), float(np.median(times)), max(times), time_limit_of(kind), AT_WORK[kind])
