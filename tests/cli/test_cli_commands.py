"""Commands that need no fleet, as a person runs them, with what they leave behind."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace
from PIL import Image

from floop_envs.scenarios import TrainingScenarios
from floop_envs.seeds import Purpose, scenarios_of
from floop_envs.shifts import SHIFTS
from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.cli.main import COMMANDS
from tests.support.cli_in_process import PICK, Floop


def test_floop_lists_its_commands(floop: Floop) -> None:
    shown = floop("--help")
    assert shown.status == 0
    assert all(f"  {name} " in shown.out for name in COMMANDS)
    assert floop("--version").out.startswith("floop, version ")


def test_demo_lists_the_shifts(floop: Floop) -> None:
    shown = " ".join(floop("demo", "--help").out.split())
    assert all(shift.name in shown for shift in SHIFTS)


def test_doctor_finds_this_installation_sound(floop: Floop) -> None:
    found = floop("doctor", "--json")
    assert found.status == 0
    checks = {check["name"]: check for check in msgspec.json.decode(found.out)}
    assert all(check["ok"] for check in checks.values() if check["required"])
    assert {"python", "disk", "write", "numpy", "torch", "robot model"} <= checks.keys()
    lines = floop("doctor").out.splitlines()
    assert len(lines) == len(checks)
    assert all("→" in line for line in lines if not line.startswith("ok"))


def test_doctor_fails_where_runs_cannot_be_written(floop: Floop, monkeypatch) -> None:
    monkeypatch.chdir("/sys")
    found = floop("doctor")
    assert found.status == 1
    assert "change to a folder that you may write to" in found.out


def test_bench_lists_what_there_is(floop: Floop) -> None:
    assert {"gate", "kills", "stream"} <= set(floop("bench", "--list").out.split())


def test_bench_reports_each_benchmark_as_one_json_object(floop: Floop) -> None:
    found = floop("bench", "limiter", "gate_statistics", "--smoke", "--json")
    assert found.status == 0
    first, second = (msgspec.json.decode(line) for line in found.out.splitlines())
    assert (first["benchmark"], first["passed"], second["benchmark"]) == ("limiter", True, "gate_statistics")
    assert msgspec.json.decode(first["output"][-1])["outside"] == 0, "a report of the benchmark's own comes as it is"


def test_play_records_policy_expert_and_a_stored_scenario(floop: Floop, tmp_path: Path) -> None:
    assert floop("play", "--seed", "1", "--out", "a.png").status == 0
    assert Image.open(tmp_path / "a.png").width > 1000
    (scenario,) = scenarios_of(TrainingScenarios("floop/Pick-v0"), Purpose.REPORT, 1, 1)
    (tmp_path / "scenario.json").write_bytes(msgspec.json.encode(scenario))
    assert floop("play", PICK, "--scenario", "scenario.json", "--out", "b.png").status == 0
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(Image.open(tmp_path / "b.png"))).all()
    shown = floop("play", "--expert", "--shift", "new-object", "--out", "c.gif")
    assert shown.out.startswith("c.gif: ")
    assert shown.out.strip().endswith((" frames of a basket: success", " frames of a basket: failure"))
    assert getattr(Image.open(tmp_path / "c.gif"), "n_frames", 1) > 10


def test_play_corrects_what_the_policy_corrects(floop: Floop, tmp_path: Path) -> None:
    (seen,) = scenarios_of(TrainingScenarios("floop/Pick-v0"), Purpose.REPORT, 1, 1)
    offset_m = (0.0625, -0.03125, 0.0)
    off = replace(seen, robot="robot_3", calibration_offset_m=offset_m)
    for name, scenario in (("seen", seen), ("off", off)):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(scenario))
    Bundle.load(baseline("floop/Pick-v0")).with_calibration({"robot_3": offset_m}).save(tmp_path / "it.floop")
    last = []
    for scenario in ("seen", "off"):
        assert floop("play", "it.floop", "--scenario", f"{scenario}.json", "--out", "x.png").status == 0
        last.append(np.asarray(Image.open(tmp_path / "x.png"), np.float64))
    assert np.abs(last[0] - last[1]).mean() < 1.0, "not the same episode"


def test_a_scenario_of_another_task_is_refused(floop: Floop, tmp_path: Path) -> None:
    (scenario,) = scenarios_of(TrainingScenarios("floop/PickPlace-v0"), Purpose.REPORT, 1, 1)
    (tmp_path / "scenario.json").write_bytes(msgspec.json.encode(scenario))
    assert "give --task floop/PickPlace-v0" in floop("play", "--scenario", "scenario.json").error


def test_validate_measures_and_judges(floop: Floop) -> None:
    found = floop("validate", PICK, "--episodes", "6", "--json")
    assert found.status == 0
    measured = msgspec.json.decode(found.out)
    assert measured["candidate"]["episodes"] == 6
    assert measured["candidate"]["success"] >= 0.8
    said = floop("validate", PICK, "--episodes", "6").out
    assert re.match(rf"{PICK}: \d of 6 scenarios succeeded, .*% \(95 % interval: .*% to .*%\); a success took", said)


def test_train_leaves_what_validate_and_play_can_use(floop: Floop, tmp_path: Path) -> None:
    recipe = {
        "total_timesteps": 90_000,
        "learning_starts": 100,
        "selection_episodes": 2,
        "final_episodes": 2,
        "sac": {"net_arch": [16, 16]},
    }
    (tmp_path / "short.yaml").write_bytes(msgspec.yaml.encode(recipe))
    options = "--out mine --demonstrations 3 --steps 200 --json"
    found = floop("train", "--recipe", "short.yaml", *options.split())
    assert found.status == 0
    result = msgspec.json.decode(found.out)
    assert {
        "success",
        "mean_pick_time_s",
        "bc_success",
        "bc_pick_time_s",
        "transitions",
        "gradient_steps",
        "wall_s",
    } <= result.keys()
    assert 200 <= result["transitions"] < 400
    assert {"model.zip", "policy.floop", "policy.learner", "config.yaml"} <= {p.name for p in Path("mine").iterdir()}
    assert Bundle.load(Path("mine/policy.floop")).manifest.architecture.hidden == (16, 16)
    shown = msgspec.json.decode(floop("validate", "mine/model.zip", "--trust", "--episodes", "2", "--json").out)
    assert shown["candidate"]["episodes"] == 2
