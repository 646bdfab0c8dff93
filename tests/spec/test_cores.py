"""Cores, and the numbers of workers that follow from them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from floop_robot.spec.config import FloopConfig, GateConfig
from floop_robot.spec.cores import explorers_for, gate_workers_for, usable_cores


@pytest.mark.parametrize(
    ("text", "limit"), [("50000 100000\n", 1), ("100000 100000\n", 1), ("max 100000\n", 0), ("?", 0)]
)
def test_a_containers_quota_limits_the_cores(tmp_path: Path, text: str, limit: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert usable_cores(quota) == (limit or len(os.sched_getaffinity(0)))


def test_without_a_quota_every_core_of_the_cpu_set_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("cores", "explorers", "workers"), [(1, 1, 1), (2, 1, 2), (3, 1, 2), (4, 2, 2), (16, 4, 8), (64, 4, 8)]
)
def test_half_of_the_cores_explore_or_judge_up_to_a_limit_but_both_of_two_judge(
    cores: int, explorers: int, workers: int
) -> None:
    assert (explorers_for(cores), gate_workers_for(cores)) == (explorers, workers)


def test_numbers_in_the_configuration_win() -> None:
    assert FloopConfig(explorers=0).explorer_count == 0
    assert FloopConfig(gate=GateConfig(workers=3)).gate.worker_count == 3
    assert FloopConfig().explorer_count == explorers_for(usable_cores())
    assert FloopConfig().gate.worker_count == gate_workers_for(usable_cores())
