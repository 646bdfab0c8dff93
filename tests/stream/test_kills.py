"""SIGKILL of ingest and senders under load: nothing acknowledged is lost, nothing is there twice."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from tests.support.stream_processes import IngestProcess, SenderProcess, rows_by_stream
from tests.support.waiting import wait_for


@pytest.mark.parametrize("kills", [8, pytest.param(120, marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, kills: int) -> None:
    draw = random.Random(kills)
    ingest = IngestProcess(tmp_path)
    senders = [SenderProcess(tmp_path, f"robot_{i}", ingest.config.endpoints.ingest) for i in range(3)]
    try:
        for number in range(kills):
            victim = draw.choice(senders)
            victim.wait_for_progress(draw.randint(1, 30))
            if number % 2:
                ingest.kill()
                ingest.start()
            else:
                victim.kill()
                victim.start()
        for sender in senders:
            sender.wait_for_progress(20)
            sender.kill()
    finally:
        for sender in senders:
            sender.process.kill()
        status = ingest.stop()
    ingest.start()  # with nothing on its way any more
    client = ingest.tail()
    audit = client.audit()
    client.close()
    assert (status, ingest.stop()) == (0, 0)
    found = rows_by_stream(ingest.journal)
    total = 0
    for sender in senders:
        for boot, acknowledged in sender.acknowledged().items():
            numbers = found.get((sender.robot, boot), [])
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= acknowledged
            total += acknowledged
    assert total > 10 * kills
    assert (audit.lost, audit.doubled, audit.damaged) == (0, 0, 0)
    assert audit.records == sum(map(len, found.values())) == audit.transitions_by_source["robot"]
    with sqlite3.connect(ingest.journal) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("SELECT count(*) FROM gaps").fetchone()[0] == 0


def test_a_tail_client_outlives_ingest_and_misses_nothing(tmp_path: Path) -> None:
    ingest = IngestProcess(tmp_path)
    sender = SenderProcess(tmp_path, "robot_1", ingest.config.endpoints.ingest)
    client = ingest.tail()
    seen: list[int] = []

    def follow(target: int) -> None:
        def read() -> bool:
            for found in client.poll(0.2):
                assert found.block.transitions is not None
                seen.extend(found.block.transitions.step.tolist())
            return len(seen) >= target

        wait_for(read, 20, f"row {target}")

    try:
        for _ in range(2):
            follow(len(seen) + 40)
            ingest.kill()
            ingest.start()
        follow(len(seen) + 40)
        assert seen == list(range(len(seen))) and client.damaged == 0
    finally:
        sender.kill()
        client.close()
        ingest.stop()
