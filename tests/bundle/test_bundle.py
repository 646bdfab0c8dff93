"""Bundles survive the way there and back, and nothing else passes for one."""

from __future__ import annotations

import hashlib
import os
import resource
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from floop_robot.bundle import Bundle, DataRange, Distribution, Normalization, verify
from floop_robot.bundle.bundle import MAX_BUNDLE_BYTES
from floop_robot.bundle.manifest import PolicyCheck
from floop_robot.spec.errors import BundleRefused, ContractMismatch, FloopError, StorageError
from floop_robot.spec.ids import Ids, contract_id
from floop_robot.spec.layout import Field, Layout
from tests.support.sample_bundles import IDS, TASK, architecture, make_bundle, random_observations, random_tensors

BLOB = make_bundle().to_bytes()


def one_line(info) -> str:
    text = str(info.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


def with_tensors(bundle: Bundle, **changes) -> Bundle:
    """A bundle whose every checksum is right but whose tensors were changed by whoever wrote it."""
    tensors = safetensors.numpy.save(bundle.arrays() | changes)
    manifest = msgspec.structs.replace(bundle.manifest, sha256=hashlib.sha256(tensors).hexdigest())
    return Bundle(manifest, tensors)


def test_there_and_back(tmp_path):
    bundle = make_bundle(data=DataRange(transitions=7, journal_to=3))
    bundle.save(tmp_path / "p.floop")
    again = Bundle.load(tmp_path / "p.floop")
    assert again == bundle
    assert [p.name for p in tmp_path.iterdir()] == ["p.floop"]
    observation = random_observations(1)[0]
    np.testing.assert_array_equal(again.actor().mean(observation), bundle.actor().mean(observation))
    assert len(BLOB) < 40_000


def test_same_weights_same_name():
    assert make_bundle(3).manifest.sha256 == make_bundle(3).manifest.sha256 != make_bundle(4).manifest.sha256


def test_corrections_make_another_policy_of_the_same_weights():
    plain, offset = make_bundle(), (0.03, -0.026, 0.0)
    corrected = plain.with_calibration({"robot_3": offset})
    assert corrected.tensors == plain.tensors and corrected.manifest.sha256 != plain.manifest.sha256
    assert Bundle.from_bytes(corrected.to_bytes()).manifest.calibration == {"robot_3": offset}
    assert plain.with_calibration({}).manifest.sha256 == plain.manifest.sha256, "none changes nothing"
    other = plain.with_calibration({"robot_4": offset, "robot_3": offset})
    same = plain.with_calibration({"robot_3": offset, "robot_4": offset})
    assert other.manifest.sha256 == same.manifest.sha256 != corrected.manifest.sha256
    assert corrected.with_version(version=7, epoch=1, parent=0, certificate=None).manifest.calibration


@pytest.mark.parametrize(
    "calibration",
    [
        {"robot_3": (0.03, 0.0, 0.2)},
        {"robot_3": (float("nan"), 0.0, 0.0)},
        {f"r{i}": (0.0, 0.0, 0.0) for i in range(300)},
    ],
)
def test_corrections_that_cannot_be_are_refused(calibration):
    with pytest.raises(BundleRefused, match="correction"):
        Bundle.from_bytes(make_bundle().with_calibration(calibration).to_bytes())


def test_corrections_that_the_name_does_not_cover_are_refused():
    corrected = make_bundle().with_calibration({"robot_3": (0.03, 0.0, 0.0)})
    changed = msgspec.structs.replace(corrected.manifest, calibration={"robot_3": (0.05, 0.0, 0.0)})
    with pytest.raises(BundleRefused, match="other"):
        Bundle.from_bytes(Bundle(changed, corrected.tensors).to_bytes())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(BLOB) - 1))
def test_truncated_is_refused(length):
    with pytest.raises(BundleRefused) as info:
        Bundle.from_bytes(BLOB[:length], "p.floop")
    assert "p.floop" in one_line(info)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BLOB) * 8 - 1))
def test_any_flipped_bit_is_refused(bit):
    damaged = bytearray(BLOB)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BundleRefused) as info:
        Bundle.from_bytes(bytes(damaged))
    one_line(info)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_refused(noise):
    with pytest.raises(BundleRefused):
        Bundle.from_bytes(noise)


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (b"", "it is empty; give a .floop file"),
        ("# Bär\n".encode(), "it is a text; give a .floop file, as `floop train` leaves one"),
        (b"# mine\nrobots: 2\n", "it is a YAML text; give"),
        (b'{"a": 1}', "it is a JSON text; give"),
        (b'\x40\0\0\0\0\0\0\0{"w":{', "it is a safetensors file; weights alone do not say what they expect; give"),
        (b"\x80\x04\x95\x10", "it is a pickle, such as an old PyTorch file; floop reads none, give"),
        (b"\x08\x07\x12\x07pytorch", "it is an ONNX model; weights alone"),
        (b"\x89PNG\r\n\x1a\n\0", "it is a picture; give"),
        (b"GIF89a\x01\0", "it is a picture; give"),
        (b"PK\x03\x04\x14\0", "it is a damaged or empty zip file; give a .floop file"),
        (b"\x93NUMPY\x01\0", "it is a NumPy array; give"),
        (b"\x95\xa3one\x01", "it is a file of another kind; give"),
    ],
)
def test_a_file_of_another_kind_is_called_by_it(begin, says, tmp_path):
    (tmp_path / "other").write_bytes(begin)
    with pytest.raises(BundleRefused) as info:
        Bundle.load(tmp_path / "other")
    assert one_line(info).startswith(f"{tmp_path / 'other'} is no policy bundle: {says}")


def test_deep_nesting_is_refused():
    with pytest.raises(BundleRefused):
        Bundle.from_bytes(b"\x95\xa1x\x91" + b"\x91" * 100_000)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_weights_are_refused(bad):
    bundle = make_bundle()
    bias = bundle.arrays()["log_std.bias"].copy()  # not seen by the checks of mean actions
    bias[1] = bad
    with pytest.raises(BundleRefused) as info:
        verify(with_tensors(bundle, **{"log_std.bias": bias}), TASK, IDS)
    assert "NaN" in one_line(info)


def test_wrong_shape_dtype_and_name_are_refused():
    bundle = make_bundle()
    for change in (
        {"mean.bias": np.zeros(5, np.float32)},
        {"mean.bias": np.zeros(4, np.float64)},
        {"extra": np.zeros(1, np.float32)},
    ):
        with pytest.raises(BundleRefused) as info:
            verify(with_tensors(bundle, **change), TASK, IDS)
        assert next(iter(change)) in one_line(info)


def test_other_weights_than_checked_are_refused():
    bundle = make_bundle()
    with pytest.raises(BundleRefused) as info:
        verify(with_tensors(bundle, **{"mean.bias": bundle.arrays()["mean.bias"] + 0.01}), TASK, IDS)
    assert "stored observation 0" in one_line(info)


def test_changed_normalization_is_refused():
    bundle = make_bundle()
    for scale in (0.0, float("nan"), 0.1):
        normalization = msgspec.structs.replace(bundle.manifest.normalization, scale=(scale,) * TASK.observation.size)
        manifest = msgspec.structs.replace(bundle.manifest, normalization=normalization)
        with pytest.raises(BundleRefused), np.errstate(all="ignore"):
            verify(Bundle(manifest, bundle.tensors), TASK, IDS)


def test_without_checks_is_refused():
    bundle = make_bundle()
    manifest = msgspec.structs.replace(bundle.manifest, checks=())
    with pytest.raises(BundleRefused):
        verify(Bundle(manifest, bundle.tensors), TASK, IDS)


def test_other_contract_names_both_sides():
    layout = Layout((*TASK.observation.fields, Field(name="extra", size=2, unit="m", low=0, high=1)))
    other = msgspec.structs.replace(TASK, observation=layout)
    ids = Ids(contract=contract_id(other), limits=IDS.limits, reward=IDS.reward)
    with pytest.raises(ContractMismatch) as info:
        verify(make_bundle(), other, ids, where="robot_3")
    text = one_line(info)
    for part in (IDS.contract, ids.contract, "robot_3", "6 observations", "8 observations"):
        assert part in text


def test_a_policy_of_an_own_environment_is_refused_with_what_to_do():
    task = msgspec.structs.replace(TASK, id="floop/Reach-v0")
    with pytest.raises(BundleRefused) as info:
        verify(make_bundle(), task, IDS, where="robot_3")
    text = one_line(info)
    assert f"is for {TASK.id}, which is no floop task; robot_3 needs floop/Reach-v0" in text
    assert "load the model.zip beside it in stable-baselines3" in text


def test_other_limits_and_reward_pass_but_show():
    ids = Ids(contract=IDS.contract, limits="tighter", reward="other")
    notes = verify(make_bundle(), TASK, ids, where="robot_1").notes
    assert len(notes) == 2
    assert "limits-a" in notes[0] and "tighter" in notes[0]
    assert verify(make_bundle(), TASK, IDS).notes == ()


def test_versions_only_grow():
    bundle = make_bundle().with_version(version=4, epoch=1, parent=3, certificate=None)
    assert verify(bundle, TASK, IDS, newer_than=3).bundle.manifest.version == 4
    for current in (4, 9):
        with pytest.raises(BundleRefused) as info:
            verify(bundle, TASK, IDS, newer_than=current)
        assert f"v{current}" in one_line(info)


def test_build_refuses_a_trainer_that_disagrees():
    arch = architecture(Distribution.GAUSSIAN)
    with pytest.raises(BundleRefused):
        Bundle.build(
            task=TASK,
            ids=IDS,
            algo="ppo",
            architecture=arch,
            tensors=random_tensors(arch, 0),
            observations=random_observations(4),
            actions=np.full((4, 4), 0.123, np.float32),
        )


def test_unreadable_and_unwritable_paths_are_one_line(tmp_path):
    with pytest.raises(StorageError) as info:
        Bundle.load(tmp_path / "missing.floop")
    assert "missing.floop" in one_line(info)
    (tmp_path / "file").write_text("")
    with pytest.raises(FloopError) as info:
        make_bundle().save(tmp_path / "file" / "p.floop")
    one_line(info)


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.floop")  # nobody writes: whoever waited for it would wait for ever
    opened = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(StorageError, match="it is a folder; give a file in it"):
        Bundle.load(tmp_path)
    assert len([*Path("/proc/self/fd").iterdir()]) == opened
    for path in (tmp_path / "pipe.floop", Path("/dev/zero")):
        with pytest.raises(StorageError, match="no regular file; check the path"):
            Bundle.load(path)


def test_full_disk_leaves_the_old_bundle(tmp_path):
    path = tmp_path / "p.floop"
    make_bundle(0).save(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # every write beyond this fails, as on a full disk
    try:
        with pytest.raises(StorageError) as info:
            make_bundle(1).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "p.floop" in one_line(info)
    assert Bundle.load(path).tensors == make_bundle(0).tensors
    assert [p.name for p in tmp_path.iterdir()] == ["p.floop"]


def changed(bundle: Bundle, **changes) -> Bundle:
    return Bundle(msgspec.structs.replace(bundle.manifest, **changes), bundle.tensors)


def test_tensors_under_another_manifest_are_refused():
    other = changed(make_bundle(3), sha256=make_bundle(4).manifest.sha256)
    with pytest.raises(BundleRefused, match="other tensors or corrections than its manifest names"):
        Bundle.from_bytes(other.to_bytes())


def test_a_file_larger_than_any_bundle_is_refused_unread(tmp_path):
    with (tmp_path / "large.floop").open("wb") as file:
        file.truncate(MAX_BUNDLE_BYTES + 1)
    with pytest.raises(BundleRefused, match=r"larger than any bundle .*; check the path"):
        Bundle.load(tmp_path / "large.floop")


def test_a_normalization_of_another_size_is_refused():
    with pytest.raises(BundleRefused, match="1 offsets and 1 scales"):
        changed(make_bundle(), normalization=Normalization((0.0,), (1.0,))).actor()


def test_a_check_of_another_size_is_refused():
    with pytest.raises(BundleRefused, match=r"check 0 .* has the wrong size"):
        changed(make_bundle(), checks=(PolicyCheck((0.0,), (0.0,)),)).checked_actor()


def test_an_architecture_of_another_size_than_the_task_is_refused_by_name():
    bundle = make_bundle()
    wide = msgspec.structs.replace(bundle.manifest.architecture, observation_size=TASK.observation.size + 2)
    with pytest.raises(BundleRefused, match=f"observation size {TASK.observation.size + 2}, r3 has"):
        verify(changed(bundle, architecture=wide), TASK, IDS, where="r3")
