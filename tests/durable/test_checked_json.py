"""Small files notice their own rot; files of earlier floops are still read."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from floop_robot.durable.checked_json import FileDamaged, seal, unseal
from floop_robot.durable.number_file import NumberFile
from floop_robot.spec.errors import StorageError

PATH = Path("state.json")
CONTENTS = [b'{"number":7}', b'{"latched":true,"who":"ann","why":"\\u00e9"}\n', b'{\n "a": {\n  "b": [1, 2]\n }\n}']


@pytest.mark.parametrize("content", CONTENTS)
def test_every_flipped_bit_and_every_cut_is_seen(content: bytes) -> None:
    sealed = seal(content)
    assert json.loads(unseal(sealed, PATH)) == json.loads(content)
    found = json.loads(sealed)
    assert len(found.pop("crc32")) == 8 and found == json.loads(content)
    for bit in range(8 * len(sealed)):
        damaged = bytearray(sealed)
        damaged[bit // 8] ^= 1 << bit % 8
        if bytes(damaged).strip() == sealed.strip():  # white space behind the end
            continue
        with pytest.raises(FileDamaged, match=r"state\.json is damaged"):
            unseal(bytes(damaged), PATH)
    for size in range(len(sealed.strip())):
        with pytest.raises((FileDamaged, json.JSONDecodeError)):
            json.loads(unseal(sealed[:size], PATH))


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_without_checksum_is_read_and_said(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert unseal(content, PATH) == content
    assert caplog.messages == ["state.json has no checksum: an earlier floop wrote it"]


def test_a_number_outlives_its_process(tmp_path: Path) -> None:
    file = NumberFile(tmp_path / "next_seed")
    assert file.load() is None
    file.store(2000)
    assert NumberFile(file.path).load() == 2000
    file.path.write_text("3000\n")  # of an earlier floop
    assert file.load() == 3000
    for damaged in (b"", b"30x0", b"3000}", b'{"number":7,"crc32":"00000000"}\n', b'{"numbre":7}', b"\xff\xfe"):
        file.path.write_bytes(damaged)
        with pytest.raises(StorageError, match="next_seed"):
            file.load()
