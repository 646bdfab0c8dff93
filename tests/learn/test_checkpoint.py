"""Checkpoints come back exactly, and damaged ones not at all."""

from pathlib import Path

import numpy as np
import pytest

from floop_robot.learn.algorithm import Algorithm
from floop_robot.learn.checkpoint import Checkpoint, CheckpointInfo, CheckpointRefused
from floop_robot.learn.ppo_algorithm import PpoAlgorithm
from floop_robot.learn.sac_algorithm import SacAlgorithm
from floop_robot.learn.spaces import PolicySpace
from floop_robot.monitor.shift_detector import KnownClass, KnownTasks
from floop_robot.spec.errors import ContractMismatch
from floop_robot.spec.hyperparameters import PpoSettings, SacSettings
from floop_robot.spec.ids import Ids
from floop_robot.spec.tasks import get_task

SPACE = PolicySpace.of(get_task("floop/Pick-v0").spec)
IDS = Ids("contract", "limits", "reward")


def algorithm(algo: str, seed: int) -> Algorithm:
    if algo == "sac":
        return SacAlgorithm(SPACE, SacSettings(), seed)
    return PpoAlgorithm(SPACE, PpoSettings(), seed)


def info(algo: str) -> CheckpointInfo:
    known = KnownTasks((KnownClass("box", (0.1, 0.1, 0.1), (0.2, 0.2, 0.2)),))
    return CheckpointInfo(task="floop/Pick-v0", ids=IDS, algo=algo, hidden=(64, 64), gradient_steps=7, known=known)


@pytest.mark.parametrize("algo", ["sac", "ppo"])
def test_weights_and_moments_come_back(algo: str, tmp_path: Path) -> None:
    first, second = algorithm(algo, 1), algorithm(algo, 2)
    for i, array in enumerate(first.arrays().values()):
        array[...] = i + 1.0
    saved = Checkpoint(info(algo), first.arrays())
    saved.save(tmp_path / "a.learner")
    loaded = Checkpoint.load(tmp_path / "a.learner")
    assert loaded.info == saved.info
    second.restore(loaded.arrays, loaded.info.gradient_steps)
    assert second.progress.gradient_steps == 7
    for name, array in second.arrays().items():
        assert (array == first.arrays()[name]).all(), name


def test_damage_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.learner"
    Checkpoint(info("sac"), {"x": np.ones(100, np.float32)}).save(path)
    whole = path.read_bytes()
    for damaged in (whole[:50], whole[:-10], b"", b"\xff" * 200):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointRefused) as caught:
            Checkpoint.load(path)
        assert "\n" not in str(caught.value)
    Checkpoint(info("sac"), {"x": np.array([np.nan], np.float32)}).save(path)
    with pytest.raises(CheckpointRefused, match="NaN"):
        Checkpoint.load(path)


def test_a_wrong_shape_changes_nothing() -> None:
    model = algorithm("sac", 1)
    arrays = {name: array + 1.0 for name, array in model.arrays().items()}
    before = {name: array.copy() for name, array in model.arrays().items()}
    arrays["target"] = arrays["target"][:-1]
    with pytest.raises(CheckpointRefused, match="target"):
        model.restore(arrays, 0)
    assert all((array == before[name]).all() for name, array in model.arrays().items())


def test_another_contract_is_refused_naming_both() -> None:
    with pytest.raises(ContractMismatch, match=r"contract contract.*contract other"):
        Checkpoint(info("sac"), {}).require(Ids("other", "limits", "reward"), "the fleet")
