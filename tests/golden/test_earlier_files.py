"""Files of floop at 4b78f7b: each opens, or is refused with one line that says what to do."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from floop_robot.bundle import Bundle
from floop_robot.bundle.bundle import FORMAT_MORE
from floop_robot.deploy.registry import Registry, read_history
from floop_robot.robot.drain_state import DrainState
from floop_robot.robot.estop_latch import EstopLatch
from floop_robot.robot.local_store import StoredPolicy
from floop_robot.spec.config import load_config
from floop_robot.spec.errors import BundleRefused, ConfigError, FloopError, StorageError
from floop_robot.spec.ids import ids_of
from floop_robot.spec.records import Source, StreamInfo
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import decode_block, encode_block
from floop_robot.stream.spool import Spool
from tests.support.sample_bundles import IDS, TASK

FILES = Path(__file__).parent / "files"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    shutil.copytree(FILES, tmp_path / "files")
    return tmp_path / "files"


@contextlib.contextmanager
def refused(kind: type[FloopError], *parts: str) -> Iterator[None]:
    with pytest.raises(kind) as caught:
        yield
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_a_spool_with_undelivered_rows_is_refused_with_what_to_do(files: Path) -> None:
    rules = get_task("floop/Pick-v0")
    ids = ids_of(rules, load_robot("panda"))
    info = StreamInfo("robot_1", "", rules.spec.id, ids, Source.ROBOT)
    advice = "let that floop deliver it until nothing waits in it, then move the folder away"
    with refused(StorageError, "segment format 1", advice):
        Spool(files / "spool", info, 1 << 20)


def test_an_episode_s_end_is_read_by_its_earlier_name(files: Path) -> None:
    block = decode_block((files / "episode_end.block").read_bytes())
    (end,) = block.ends
    assert (block.info.robot, end.object.object_class, end.object.correction_m) == ("robot_1", "box", (0.0, 0.0, 0.0))
    again = decode_block(encode_block(block.info, block.first_seq, block.records()))
    assert again.ends[0].object == end.object


def test_a_bundle_is_refused_with_what_to_do(files: Path) -> None:
    with refused(BundleRefused, "policy.floop", "'floop-bundle-1'", "train the policy again"):
        Bundle.load(files / "policy.floop")
    with refused(BundleRefused, "train the policy again"):
        StoredPolicy(files).load(TASK, IDS, "robot_1")


def test_a_bundle_of_format_3_acts_as_recorded(files: Path) -> None:
    blob = (files / "policy_3.floop").read_bytes()
    assert FORMAT_MORE.encode() in blob
    manifest = Bundle.from_bytes(blob).manifest
    assert manifest.architecture.activation == "elu" and manifest.architecture.mean_limit == 1.5
    assert manifest.normalization.limit == 2.0 and manifest.settings["ent_coef"] == "auto_0.1"
    actor = Bundle.from_bytes(blob).checked_actor()
    assert len(manifest.checks) == 8 and np.isnan(actor.sample(np.zeros(37, np.float32), np.random.default_rng(0))[1])


def test_an_estop_stays_latched(files: Path) -> None:
    latch = EstopLatch(files / "stopped")
    assert latch.is_set
    assert "cannot be read" in latch.reason  # it holds a sentence, not JSON


def test_a_drained_robot_stays_drained(files: Path) -> None:
    drain_state = DrainState(files)
    assert (drain_state.by_fleet_manager, drain_state.by_local_operator) == (True, False)
    drain_state.set_fleet_drain(False)
    assert not DrainState(files).drained


def test_a_configuration_is_refused_with_the_new_names(files: Path) -> None:
    with refused(ConfigError, "gate.old_accept is now gate.regression_accept", "rollout is now deploy"):
        load_config(files / "floop.yaml")


def test_a_registry_of_another_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    Registry(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")
    with refused(StorageError, "registry.sqlite has schema 1", "choose another run_dir"):
        Registry(path)
    with refused(StorageError, "registry.sqlite has schema 1", "choose another run_dir"):
        read_history(path)
