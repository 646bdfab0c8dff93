"""`floop demo` end to end, in real time with real processes: too short to recover, so it must say so."""

from __future__ import annotations

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from floop_robot.bundle import Bundle
from floop_robot.sim.sim_world import evaluation_scenarios
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.stream.journal_reader import JournalReader
from floop_robot.train.validate import evaluate
from tests.support.cli_process import children, floop, interrupt
from tests.support.waiting import wait_for

EPISODES = 20
KEYS = (
    "recovered", "success_before", "success_dip", "success_after", "old_success_after", "tti_s", "tti_apply_s",
    "tti_stages_s", "real_time_factor", "rows_by_source", "loop_latency_p99_s", "apply_latency_p99_s", "ticks",
    "missed_ticks", "rows_acked", "rows_lost", "rows_doubled", "gate_accepted", "gate_rejected", "bundles",
    "wall_s",
)  # fmt: skip
"""What scripts read of the report."""


def demo(folder: Path, *options: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A demo in `folder`."""
    return floop(folder, "demo", "--no-ros", "--headless", "--robots", "2", *options)


def run_dir_of(folder: Path) -> Path | None:
    return next((folder / "runs").glob("*"), None)


def nothing_is_left(folder: Path) -> None:
    """No process that works there, and no socket file."""
    assert not [p.pid for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)]
    assert not [path for path in folder.rglob("*") if path.is_socket()]


@pytest.mark.parametrize(
    ("task", "seconds", "more"),
    [
        # On a busy machine the shift comes 40 s after the start. Slippery objects take a fit first, so that a quick
        # machine does not recover either.
        ("floop/Pick-v0", "60", ("--shift", "slippery")),
        pytest.param("floop/PickPlace-v0", "75", ("--shift-robots", "robot_2"), marks=pytest.mark.slow),
    ],
)
def test_a_demo_that_is_too_short_reports_everything_and_ends_with_status_3(
    task: str, seconds: str, more: tuple[str, ...], tmp_path: Path
) -> None:
    options = "--task", task, "--seconds", seconds, "--episodes", str(EPISODES), "--seed", "7", *more
    with demo(tmp_path, *options, "--json", "--report", str(tmp_path / "report.json")) as running:
        out, err = running.communicate(timeout=180)
    assert running.returncode == 3, err
    report: dict[str, Any] = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert set(KEYS) <= report.keys()
    assert msgspec.json.decode(out) == report
    run_dir = run_dir_of(tmp_path)
    assert run_dir is not None
    assert msgspec.json.decode((run_dir / "report.json").read_bytes()) == report
    _says_that_it_did_not_recover(report)
    config = load_config(run_dir / "floop.yaml")
    assert report["task"] == config.task == task
    _can_be_computed_again(report, config, tmp_path)
    assert (run_dir / "timeline.png").stat().st_size > 1000
    assert (run_dir / "before_after.gif").stat().st_size > 1000
    nothing_is_left(tmp_path)


def _says_that_it_did_not_recover(report: dict[str, Any]) -> None:
    assert report["recovered"] is False
    assert report["reason"]
    assert report["tti_s"] is None
    assert report["success_dip"] < report["success_before"]
    assert 100 < report["rows_acked"] <= report["rows_in_journal"]
    assert report["rows_lost"] == report["rows_doubled"] == 0
    assert report["rows_by_source"]["robot"] > 100
    assert report["rows_by_source"]["explorer"] > 0
    assert report["rows_by_source"]["demonstration"] == 0
    assert 0.98 < report["real_time_factor"] < 1.02
    assert report["ticks"] > 2 * 20 * 50
    assert report["live"]["before_shift"]["episodes"] >= 2 * 8
    assert report["live"]["shifted_on_shipped"]["episodes"] > 0, "the shift came too late"
    assert report["restarts"] == {}
    assert report["evaluation_episodes"] == EPISODES
    assert sum(part["share"] for part in report["waits"].values()) == pytest.approx(1.0)
    assert report["waits"]["explorers"]["per_s"] > 0, "the learner may still wait for a fit, and for successes"


def _can_be_computed_again(report: dict[str, Any], config: FloopConfig, folder: Path) -> None:
    """From bundles, seed and journal alone."""
    final = Bundle.load(folder / report["bundles"]["final"])
    assert final.manifest.version == report["final_version"]
    shipped = Bundle.load(Path(report["bundles"]["shipped"]))
    for shift, robots, key in (
        (None, config.robot_names, "success_before"),
        (report["shift"], tuple(report["shift_robots"]) or config.robot_names, "success_dip"),
    ):
        scenarios = evaluation_scenarios(config.task, shift, robots, config.seed, report["evaluation_episodes"])
        assert evaluate(shipped, scenarios).success == report[key]
    reader = JournalReader(folder / report["journal"])
    try:
        audit = reader.audit()
    finally:
        reader.close()
    assert audit.is_sound
    assert audit.records == report["rows_in_journal"]
    assert audit.transitions_by_source == report["rows_by_source"]


def test_ctrl_c_ends_everything_within_five_seconds(tmp_path: Path) -> None:
    def at_work() -> bool:
        run_dir = run_dir_of(tmp_path)
        return run_dir is not None and len(list(run_dir.glob("stats/*.stats"))) >= 10

    with demo(tmp_path) as running:
        wait_for(at_work, 60.0, "every process at work")
        assert len(children(running)) >= 12  # with the gate's worker
        assert interrupt(running).strip().splitlines()[-1] == "stopped"
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        wait_for(lambda: run_dir_of(tmp_path), 60.0, "its start")
        assert interrupt(running).strip().splitlines()[-1] == "stopped"
    nothing_is_left(tmp_path)


@pytest.mark.slow
def test_ctrl_c_while_it_measures(tmp_path: Path) -> None:
    with demo(tmp_path, "--seconds", "40") as running:
        assert running.stderr is not None
        while "measuring" not in running.stderr.readline():
            assert running.poll() is None
        interrupt(running)
    nothing_is_left(tmp_path)
