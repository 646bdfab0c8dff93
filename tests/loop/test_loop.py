"""The whole loop in one process: each part acts on what the others made."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.deploy.registry import Origin
from floop_robot.deploy.tti import NoImprovement
from floop_robot.loop import Loop, LoopConfig, LoopProgress, run_loop
from floop_robot.spec.config import DeployConfig, FloopConfig, GateConfig, LearnerConfig
from floop_robot.spec.errors import ConfigError, UnknownName
from floop_robot.spec.records import ActMode, Source
from tests.support.in_process_fleet import verdict

CONFIG = LoopConfig(
    fleet=FloopConfig(
        robots=2,
        learner=LearnerConfig(candidate_interval_s=3.0),
        gate=GateConfig(max_pairs=20),
    ),
    shift="new-object",
    shift_at_s=1,
    seconds=4,
    robot_rows=60,
    explorer_rows=60,
)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    with Loop(CONFIG, tmp_path_factory.mktemp("loop")) as made:
        yield made


@pytest.fixture(scope="module")
def seconds(loop: Loop) -> list[LoopProgress]:
    return [loop.second() for _ in range(CONFIG.seconds)]


def test_robots_fail_once_the_world_has_shifted(seconds: list[LoopProgress]) -> None:
    assert seconds[0].robot_successes == seconds[0].robot_episodes > 0
    succeeded, ended = (sum(getattr(p, f"robot_{name}") for p in seconds[1:]) for name in ("successes", "episodes"))
    assert 4 * succeeded <= ended, "more than luck"
    assert seconds[0].failing == () and seconds[-1].failing == ("basket",)


def test_explorers_practice_what_fails_and_the_learner_learns_from_it(loop: Loop, seconds: list[LoopProgress]) -> None:
    classes = {
        end.object.object_class
        for found in loop.journal.blocks
        if found.block.info.source is Source.EXPLORER
        for end in found.block.ends
    }
    assert "basket" in classes and classes & {"box", "cylinder"}
    learner = seconds[-1].learner
    assert learner.robot_rows >= 4 * 60 and learner.explorer_rows >= 4 * 60 and learner.new_rows > 0
    assert learner.gradient_steps > seconds[0].learner.gradient_steps


def test_the_gate_judges_candidates(seconds: list[LoopProgress]) -> None:
    assert any(p.candidate is not None for p in seconds)
    judged = [p.verdict for p in seconds if p.verdict is not None]
    assert judged and all(v.incumbent_version == 1 for v in judged)


def test_an_accepted_candidate_acts_on_every_robot_and_is_watched(loop: Loop, seconds: list[LoopProgress]) -> None:
    candidate = next(p.candidate for p in reversed(seconds) if p.candidate is not None)
    loop.controller.submit(candidate, verdict(candidate, incumbent=1), "gate", loop.clock_ns())
    after = loop.second()
    loop.second()  # may already bring the next version
    assert after.version == 2 <= loop.version == loop.gate.incumbent_version
    assert loop.registry.version(2).origin is Origin.GATE
    ends = [end for found in loop.journal.blocks if found.block.info.source is Source.ROBOT for end in found.block.ends]
    assert {end.policy_version for end in ends} == {1, 2} and {end.act_mode for end in ends} == {ActMode.MEAN}
    assert loop.controller.monitor_report() is not None
    result = loop.result()
    assert isinstance(result.tti, NoImprovement)
    assert result.bundle.manifest.version == loop.version and result.seconds == CONFIG.seconds + 2


def test_it_ends_when_its_caller_says_so() -> None:
    small = LoopConfig(fleet=FloopConfig(robots=1), seconds=5, robot_rows=20, explorer_rows=20)
    seen: list[int] = []
    result = run_loop(small, lambda p: seen.append(p.second) or p.second == 2)
    assert seen == [1, 2] and result.seconds == 2


def test_an_unknown_shift_is_one_line_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="new-object"):
        Loop(LoopConfig(shift="new-objekt"), tmp_path)


@pytest.mark.parametrize("cores", [0.55, 0.3, -1.0, float("inf"), float("nan")])
def test_cores_that_leave_nothing_for_learning_are_refused_in_one_line(cores: float) -> None:
    with pytest.raises(ValueError, match=r"^cores is .*, but robots alone take 0\.55; use more, or 0 for none$"):
        LoopConfig(cores=cores)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_cores_that_do_not_compute_are_refused_in_one_line(speed: float) -> None:
    with pytest.raises(ValueError, match=r"^speed is .*; it must be above 0$"):
        LoopConfig(cores=2.0, speed=speed)


def test_a_canary_is_refused_where_all_robots_act_on_one_version(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave it out"):
        Loop(LoopConfig(fleet=FloopConfig(deploy=DeployConfig(canary="robot_1"))), tmp_path)


def test_core_imports_nothing_heavy() -> None:
    heavy = ("torch", "stable_baselines3", "pybullet", "gymnasium", "zmq", "rclpy", "click", "rich")
    script = f"import sys, floop_robot.core; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_where_computing_takes_time_fewer_cores_do_less(tmp_path: Path) -> None:
    done = []
    for cores in (0.6, 2.0):
        config = msgspec.structs.replace(CONFIG, cores=cores, shift="", seconds=1)
        with Loop(config, tmp_path / str(cores)) as loop:
            progress = loop.second()
        assert progress.second == 1
        done.append(progress.learner.explorer_rows)
    assert done[0] < 0.5 * done[1]
