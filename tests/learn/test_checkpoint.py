"""Checkpoints come back exactly, and damaged ones not at all."""

import logging
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors
import safetensors.numpy

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


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    arrays = {f"layer_{i}": np.linspace(-1, 1, 40 * i, dtype=np.float32).reshape(i, 40) for i in (1, 2, 3)}
    Checkpoint(info("sac"), arrays, {"obs": np.ones((4, 3), np.float32)}).save(tmp_path / "a.learner")
    return tmp_path / "a.learner"


def test_every_flipped_bit_is_seen(saved: Path) -> None:
    whole, sound = saved.read_bytes(), Checkpoint.load(saved)
    used = 0
    for bit in np.random.default_rng(0).permutation(8 * len(whole))[:2000]:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << int(bit % 8)
        saved.write_bytes(damaged)
        try:
            found = Checkpoint.load(saved)
        except CheckpointRefused as error:
            assert str(saved) in str(error) and "\n" not in str(error)
        else:  # white space of the header
            used += 1
            assert found.info == sound.info
            assert all((found.arrays[name] == array).all() for name, array in sound.arrays.items())
    assert used < 20


def test_other_tools_still_read_it_and_an_earlier_floops_is_read(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    arrays = safetensors.numpy.load_file(saved)
    assert set(arrays) == {"layer_1", "layer_2", "layer_3", "prior.obs"}
    with safetensors.safe_open(saved, "numpy") as file:
        metadata = file.metadata()
    assert set(metadata) == {"floop", "crc32"}
    safetensors.numpy.save_file(arrays, saved, metadata={"floop": metadata["floop"]})
    with caplog.at_level(logging.INFO):
        assert Checkpoint.load(saved).info == info("sac")
    assert caplog.messages == [f"{saved} has no checksum: an earlier floop wrote it"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.learner"
    for steps in (1, 2, 3):
        one = Checkpoint(msgspec.structs.replace(info("sac"), gradient_steps=steps), {"x": np.full(9, steps, "f4")})
        one.save(path, keep_previous=True)
    assert Checkpoint.load_newest(path).info.gradient_steps == 3
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert Checkpoint.load_newest(path).info.gradient_steps == 2
    assert len(caplog.messages) == 1 and "a.learner is damaged" in caplog.messages[0]
    assert path.with_name("a.learner.damaged").exists()
    assert Checkpoint.load(path).info.gradient_steps == 2  # it has the newest one's place
    path.write_bytes(b"rot")
    with pytest.raises(CheckpointRefused, match=r"a\.learner is no whole checkpoint"):
        Checkpoint.load_newest(path)


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
