"""A year of a fleet of 10 robots in virtual time: disk, memory, and how long starts and answers take then.

    python benchmarks/year.py [--days 365] [--one-in 400]

The real journal, registry, deployment controller, failure monitor and reports, in one process, fed by a generator. Each
robot does an episode each 10 s, day and night; one in `--one-in` of them is played, and the bounds of `floop.yaml` are
divided by the same number. So journal and registry turn over as often as in a whole year. Each day one class of objects
fails for some hours, 20 candidates are rejected and one is accepted. These are played in full: the gate's reports keep
their bound, and versions, candidates and audit have 30 MB of the registry beside its divided bound.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.core import EpisodeOutcome
from floop_robot.deploy import FleetRequestHandler
from floop_robot.deploy.commands import Rollback
from floop_robot.deploy.messages import CandidateSubmission, GetPolicies
from floop_robot.deploy.registry import (
    PRODUCTION,
    JournalPosition,
    LiveEpisode,
    LiveLabel,
    Registry,
    RegistryLimits,
    read_audit,
    retention,
)
from floop_robot.gate.report import TrialReport
from floop_robot.gate.report_log import ReportLimits, ReportLog
from floop_robot.gate.reported_tasks import TargetTasks
from floop_robot.gate.suites import Pair, Suite
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.services.fleet_manager import live_episodes
from floop_robot.services.storage_use import storage_use
from floop_robot.spec.config import FloopConfig, StorageConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import (
    ActMode,
    EpisodeEnd,
    ObjectReport,
    OutcomeCode,
    Record,
    Source,
    StreamInfo,
    Transition,
)
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.spec.verdict import Decision, Verdict
from floop_robot.stream import journal as journal_module
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.journal import JOURNAL_FILE, Journal, JournalEntry
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.stream.journal_retention import KEPT_TRANSITIONS, JournalLimits

ROBOTS = tuple(f"robot_{i + 1}" for i in range(10))
CLASSES = ("box", "cylinder", "basket")
TASK, STEPS, EPISODE_S, BATCH = "floop/Pick-v0", 64, 10.0, 50
START_NS, DAY_NS = 1_780_000_000 * 10**9, 86400 * 10**9
RULES = get_task(TASK)
IDS = ids_of(RULES, load_robot("panda"))
T = TypeVar("T")


class Year:
    """The fleet's files, and the virtual time in which they are written."""

    def __init__(self, folder: Path, one_in: int) -> None:
        self.now_ns, self._one_in, self._folder = START_NS, one_in, folder
        self.storage = StorageConfig(journal_gb=20.0 / one_in, registry_gb=5.0 / one_in + 0.03)
        self.config = FloopConfig(run_dir=str(folder), robots=len(ROBOTS), storage=self.storage)
        journal_module.wall_clock_ns = lambda: self.now_ns  # type: ignore[attr-defined]
        journal_module.MAINTAIN_S = 0.0  # type: ignore[misc]
        retention.KEPT_EPISODES //= one_in  # type: ignore[misc]
        self._rng = np.random.default_rng(0)
        self._sequences, self._rows = dict.fromkeys(ROBOTS, 0), self._steps()
        self._shipped = Bundle.load(baseline(TASK))
        self._reports = ReportLog(folder / "gate", ReportLimits(self.storage.reports_mb * 1e6))
        self.episodes = self._boots = 0
        self.latest: list[LiveEpisode] = []
        self.open()

    def _steps(self) -> list[Record]:
        """The rows of an episode; all have the same, since nothing here looks at them."""
        return [
            Transition(
                seq=0,
                episode=0,
                step=step,
                stamp_ns=START_NS,
                policy_version=1,
                act_mode=ActMode.MEAN,
                obs=self._rng.standard_normal(RULES.spec.observation.size).astype(np.float32),
                action_requested=np.zeros(RULES.spec.action.size, np.float32),
                action=np.zeros(RULES.spec.action.size, np.float32),
                log_prob=float("nan"),
                reward=0.0,
                terminated=False,
                truncated=False,
                interventions=0,
            )
            for step in range(STEPS)
        ]

    def open(self) -> None:
        """Start ingest's and the fleet manager's part."""
        self.open_journal()
        self.open_registry()
        if not self.fleet.started:
            self.fleet.publish_baseline(self._shipped)

    def open_journal(self) -> None:
        """Start ingest's part."""
        storage, kept = self.storage, KEPT_TRANSITIONS // self._one_in
        limits = JournalLimits(storage.journal_gb * 1e9, storage.journal_days * 86400.0, kept)
        self.journal = Journal(self._folder / JOURNAL_FILE, limits)

    def open_registry(self) -> None:
        """Start the fleet manager's part."""
        limits = RegistryLimits(self.storage.registry_gb * 1e9, self.storage.registry_days * 86400.0)
        self.registry = Registry(self._folder / "registry.sqlite", limits)
        self.fleet = FleetRequestHandler(
            self.registry,
            self.config.deploy,
            RULES.spec,
            IDS,
            lambda: self.now_ns,
            storage=lambda: storage_use(self.config),
        )
        self.fleet.register_robots(ROBOTS)

    def close(self) -> None:
        """End both."""
        self.journal.close()
        self.registry.close()

    def day(self, number: int) -> None:
        """One day of work; each robot's processes start anew."""
        self._boots, self._sequences = number, dict.fromkeys(ROBOTS, 0)
        count = round(len(ROBOTS) * 86400 / EPISODE_S / self._one_in)
        begin_ns, failing = self.now_ns, CLASSES[number % len(CLASSES)]
        trials = list(np.linspace(0.1, 0.4, 21)) if number % 7 else []
        batch = min(BATCH, max(1, count // 20))
        for index in range(0, count, batch):
            share = index / count
            self.now_ns = begin_ns + round(share * DAY_NS)
            fails = failing if 0.1 < share < 0.4 else ""
            self._work(min(batch, count - index), fails)
            while trials and share >= trials[0]:
                trials.pop(0)
                self._trial(number, is_last=not trials)
            self.journal.maintain()
            self.fleet.tick()
            self.fleet.take_announcements()
        self.now_ns = begin_ns + DAY_NS

    def _work(self, count: int, fails: str) -> None:
        self._version = self.registry.alias(PRODUCTION)
        entries = [self._episode(fails) for _ in range(count)]
        self.journal.append(entries)
        head = self.journal.head
        seen = [
            each
            for number, entry in enumerate(entries, head - len(entries) + 1)
            for each in live_episodes(entry.block, number, self.now_ns)
        ]
        self.latest = seen
        self.fleet.observe(seen, JournalPosition(head, self.journal.id))

    def _episode(self, fails: str) -> JournalEntry:
        robot, name = ROBOTS[self.episodes % len(ROBOTS)], CLASSES[int(self._rng.integers(len(CLASSES)))]
        self.episodes += 1
        success = bool(self._rng.random() < (0.3 if name == fails else 0.98))
        place = tuple(self._rng.uniform(0.4, 0.6, 3).tolist())
        end = EpisodeEnd(
            seq=0,
            episode=self.episodes,
            stamp_ns=self.now_ns,
            policy_version=self._version,
            act_mode=ActMode.MEAN,
            steps=STEPS,
            duration_s=3.2,
            total_reward=1.0,
            outcome=OutcomeCode.SUCCESS if success else OutcomeCode.TIMEOUT,
            final_obs=np.zeros(RULES.spec.observation.size, np.float32),
            object=ObjectReport(name, (0.04, 0.05, 0.06), place, 0.3),
        )
        first = self._sequences[robot]
        self._sequences[robot] += STEPS + 1
        payload = encode_block(
            StreamInfo(robot, f"boot_{self._boots}", TASK, IDS, Source.ROBOT), first, [*self._rows, end]
        )
        return JournalEntry(decode_block(payload), payload)

    def _trial(self, number: int, *, is_last: bool) -> None:
        """A candidate is judged; the last of a day is accepted."""
        offset = self._rng.normal(0.0, 0.01, 3).tolist()
        bundle = self._shipped.with_calibration({"robot_1": tuple(offset)})
        verdict = Verdict(
            decision=Decision.ACCEPTED if is_last else Decision.REJECTED,
            reason="better on target tasks" if is_last else "worse on known tasks",
            candidate_sha256=bundle.manifest.sha256,
            incumbent_version=self.registry.alias(PRODUCTION),
            suites=(),
            seed=number,
            alpha=0.05,
            duration_s=2.0,
        )
        episode = EpisodeOutcome(
            success=True, steps=64, duration_s=3.2, total_reward=1.0, interventions=0, limit_violations=0
        )
        pairs = tuple(Pair(Suite.TARGET, seed, episode, episode) for seed in range(60))
        report = TrialReport(
            verdict=verdict,
            candidate=bundle.manifest,
            target_tasks=TargetTasks(("box",)),
            resolved=(),
            pairs=pairs,
            judged_ns=self.now_ns,
        )
        self._reports.append(report)
        self.fleet.handle(CandidateSubmission(who="gate", verdict=verdict, bundle=bundle.to_bytes()))

    def label(self, episode: LiveEpisode, seq: int) -> None:
        """A person judges an episode again."""
        label = LiveLabel(
            robot=episode.robot,
            boot_id="labels",
            seq=seq,
            episode_boot_id=episode.boot_id,
            episode=episode.episode,
            success=episode.outcome is not OutcomeCode.SUCCESS,
            author="ann",
        )
        self.fleet.observe([], JournalPosition(self.journal.head, self.journal.id), [label])


def timed(action: Callable[[], T]) -> tuple[float, T]:
    """Seconds that an action takes, and what it returns."""
    begin = time.perf_counter()
    found = action()
    return time.perf_counter() - begin, found


def answers(year: Year, folder: Path) -> dict[str, float]:
    """Seconds that starts and answers take now."""
    times: dict[str, float] = {}
    middle = year.registry.telemetry.episodes_after(max(0, year.episodes - 1000))[0]
    times["label on one of the latest episodes"], _ = timed(lambda: year.label(year.latest[0], year.now_ns))
    times["label on an older episode"], _ = timed(lambda: year.label(middle, year.now_ns + 1))
    times["refused order"], _ = timed(
        lambda: year.fleet.handle(Rollback(call_id=f"r{year.now_ns}", who="ann", version=10**6))
    )
    times["status, disk use included"], _ = timed(year.fleet.status)
    times["policies, the last 100"], _ = timed(lambda: year.fleet.handle(GetPolicies(last=100)))
    year.journal.close()
    times["start of ingest"], _ = timed(year.open_journal)
    year.registry.close()
    times["start of the fleet manager"], _ = timed(year.open_registry)
    reader = JournalReader(folder / JOURNAL_FILE)
    times["start of gate or explorer (summary, blocks after it)"], _ = timed(lambda: begin_reading(reader))
    times["audit, the last 100"], _ = timed(lambda: list(zip(range(100), read_audit(folder / "registry.sqlite"))))  # noqa: B905
    reader.close()
    return times


def begin_reading(reader: JournalReader) -> FleetSummary:
    """What a gate does with the journal when it starts."""
    stored = reader.summary()
    summary = FleetSummary.from_bytes(stored.state) if stored.state else FleetSummary()
    for row in reader.read(stored.through, 512, 2**22)[0]:
        if row.payload is not None:
            block = decode_block(row.payload)
            summary.take(block.info, block.ends, block.labels, block.events)
    return summary


def on_disk(folder: Path, name: str) -> float:
    """MB of a database and its log, or of all files in a folder."""
    return sum(path.stat().st_size for path in folder.glob(f"{name}*")) / 1e6


def main() -> None:
    """Play the year and print the tables."""
    parser = argparse.ArgumentParser(description="A year of a fleet of 10 robots in virtual time.")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--one-in", type=int, default=400, help="episodes of which one is played")
    parser.add_argument("--smoke", action="store_true", help="three days, few episodes: does it run?")
    options = parser.parse_args()
    if options.smoke:
        options.days, options.one_in = 3, 2000
    with tempfile.TemporaryDirectory() as name:
        folder, begin = Path(name), time.perf_counter()
        year = Year(folder, options.one_in)
        journal_mb, registry_mb = year.storage.journal_gb * 1e3, year.storage.registry_gb * 1e3
        print(f"{options.days} days, one of {options.one_in} episodes; bounds: journal {journal_mb:g} MB, registry "
              f"{registry_mb:g} MB, reports {year.storage.reports_mb:g} MB")  # fmt: skip
        print("| day | episodes | journal MB | registry MB | reports MB | memory MB |\n|---|---|---|---|---|---|")
        for day in range(options.days):
            year.day(day)
            if (day + 1) % max(1, options.days // 12) == 0 or day + 1 == options.days:
                memory_mb = resident_mb()
                print(
                    f"| {day + 1} | {year.episodes} | {on_disk(folder, JOURNAL_FILE):.0f} | "
                    f"{on_disk(folder, 'registry.sqlite'):.1f} | {on_disk(folder / 'gate', ''):.0f} | "
                    f"{memory_mb:.0f} |",
                    flush=True,
                )
        use, played_s = JournalReader(folder / JOURNAL_FILE).use(), time.perf_counter() - begin
        audit = JournalReader(folder / JOURNAL_FILE).audit()
        status = year.fleet.status()
        print(f"{status.production} versions, {status.accepted + status.rejected} candidates, {use.removed_records} "
              f"records removed from the journal, {audit.records} left, sound: {audit.is_sound}")  # fmt: skip
        print("\n| at the end of the year | s |\n|---|---|")
        for what, taken_s in answers(year, folder).items():
            print(f"| {what} | {taken_s:.3f} |")
        year.close()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"\nplayed in {played_s:.0f} s, {peak_mb:.0f} MB of memory at most")


def resident_mb() -> float:
    """Memory of this process, MB."""
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


if __name__ == "__main__":
    main()
