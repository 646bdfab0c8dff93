"""`floop demo` end to end, in real time with real processes: too short to recover, so it must say so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from floop_robot.bundle import Bundle
from floop_robot.processes.sim_world import evaluation_work
from floop_robot.processes.validate import evaluate
from floop_robot.spec.config import FloopConfig, load_config
from floop_robot.stream.journal import JournalReader
from tests.conditions import wait_for

ROOT = Path(__file__).parents[2]
EPISODES = 20
KEYS = (
    "recovered", "success_before", "success_dip", "success_after", "old_success_after", "tti_s", "tti_apply_s",
    "tti_stages_s", "real_time_factor", "rows_by_source", "loop_latency_p99_s", "apply_latency_p99_s", "ticks",
    "missed_ticks", "rows_acked", "rows_lost", "rows_doubled", "gate_accepted", "gate_rejected", "bundles",
    "wall_s",
)  # fmt: skip
"""What scripts read of the report."""
STOP_S = 5.0


def demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    """A demo in `folder`, in a process group of its own as a shell gives it."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "envs", ROOT / "policies")))
    return subprocess.Popen(
        [sys.executable, "-m", "floop_robot.cli", "demo", "--no-ros", "--headless", "--robots", "2", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
    )


def run_dir_of(folder: Path) -> Path | None:
    return next((folder / "runs").glob("*"), None)


def everything_ended(folder: Path, left: list[psutil.Process]) -> None:
    """No process, known from before or not, and no socket file."""
    assert not [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert not [p.pid for p in psutil.process_iter(["cwd"]) if p.info["cwd"] == str(folder)]
    assert not [path for path in folder.rglob("*") if path.is_socket()]


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_a_demo_that_is_too_short_reports_everything_and_ends_with_status_3(tmp_path: Path) -> None:
    options = "--seconds", "40", "--episodes", str(EPISODES), "--seed", "7"
    running = demo(tmp_path, *options, "--json", "--report", str(tmp_path / "report.json"))
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
    _can_be_computed_again(report, config, tmp_path)
    assert (run_dir / "timeline.png").stat().st_size > 1000
    assert (run_dir / "before_after.gif").stat().st_size > 1000
    everything_ended(tmp_path, [])


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
    assert report["restarts"] == {}


def _can_be_computed_again(report: dict[str, Any], config: FloopConfig, folder: Path) -> None:
    """From bundles, seed and journal alone."""
    final = Bundle.load(folder / report["bundles"]["final"])
    assert final.manifest.version == report["final_version"]
    shipped = Bundle.load(Path(report["bundles"]["shipped"]))
    for shift, key in ((None, "success_before"), (report["shift"], "success_dip")):
        work = evaluation_work(config.task, shift, config.robot_names, config.seed, EPISODES)
        assert evaluate(shipped, work).success == report[key]
    reader = JournalReader(folder / report["journal"])
    try:
        audit = reader.audit()
    finally:
        reader.close()
    assert audit.is_sound
    assert audit.records == report["rows_in_journal"]
    assert audit.transitions_by_source == report["rows_by_source"]


def test_ctrl_c_ends_everything_within_five_seconds(tmp_path: Path) -> None:
    running = demo(tmp_path)

    def at_work() -> bool:
        run_dir = run_dir_of(tmp_path)
        return run_dir is not None and len(list(run_dir.glob("stats/*.stats"))) >= 10

    try:
        wait_for(at_work, 60.0, "every process at work")
        left = children(running)
        assert len(left) >= 12  # with the gate's worker
        began = time.monotonic()
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=30)
        took = time.monotonic() - began
    finally:
        running.kill()
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == "stopped"
    assert took < STOP_S
    everything_ended(tmp_path, left)


@pytest.mark.slow
def test_ctrl_c_while_it_starts_or_measures(tmp_path: Path) -> None:
    for moment in ("starts", "measures"):
        folder = tmp_path / moment
        folder.mkdir()
        running = demo(folder, "--seconds", "40")
        try:
            if moment == "starts":
                wait_for(lambda f=folder: run_dir_of(f), 60.0, "its start")
            else:
                assert running.stderr is not None
                while "measuring" not in running.stderr.readline():
                    assert running.poll() is None
            left = children(running)
            began = time.monotonic()
            os.killpg(running.pid, signal.SIGINT)
            _, err = running.communicate(timeout=30)
            took = time.monotonic() - began
        finally:
            running.kill()
        assert running.returncode == 130, err
        assert "Traceback" not in err
        assert took < STOP_S
        everything_ended(folder, left)
