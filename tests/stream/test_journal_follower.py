"""JournalFollower: one reader across restarts of ingest and replaced journals."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.spec.records import Source
from floop_robot.stream.journal_follower import EPISODES, ROBOT_EPISODES, JournalFollower
from floop_robot.stream.tail_client import TailError
from tests.stream.test_tail import Served
from tests.support.waiting import wait_for

WAIT_S = 20.0


def test_only_blocks_with_episode_ends_or_labels_come(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        with JournalFollower(served.server.endpoint, EPISODES) as journal:
            served.add(3)
            served.add(3, end=True)
            found = wait_for(lambda: journal.poll(0.1), WAIT_S, "the block with an episode end")
            assert [len(each.block.ends) for each in found] == [1]
            assert journal.position == found[-1].id and journal.journal_id == served.journal.id
    finally:
        served.close()


def test_blocks_of_explorers_do_not_travel_to_those_who_watch_robots(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        with JournalFollower(served.server.endpoint, ROBOT_EPISODES) as journal:
            served.add(3, robot="explorer_1", source=Source.EXPLORER, end=True)
            served.add(3, end=True)
            found = wait_for(lambda: journal.poll(0.1), WAIT_S, "the robot's block")
            assert [each.block.info.source for each in found] == [Source.ROBOT]
    finally:
        served.close()


def test_a_replaced_journal_is_read_from_its_start_where_that_is_wanted(tmp_path: Path) -> None:
    served = Served(tmp_path)
    restarts: list[int] = []
    try:
        served.add(2)
        with JournalFollower(
            served.server.endpoint, after=7, journal_id="another", on_restart=lambda: restarts.append(1)
        ) as journal:
            found = wait_for(lambda: journal.poll(0.1), WAIT_S, "the new journal's first block")
            assert restarts == [1] and [each.id for each in found] == [1]
            assert journal.journal_id == served.journal.id
    finally:
        served.close()


def test_a_replaced_journal_is_an_error_otherwise(tmp_path: Path) -> None:
    served = Served(tmp_path)
    try:
        with (
            JournalFollower(served.server.endpoint, journal_id="another") as journal,
            pytest.raises(TailError, match="was replaced"),
        ):
            wait_for(lambda: journal.poll(0.1), WAIT_S, "the error")
    finally:
        served.close()


def test_it_waits_for_an_ingest_that_is_away_and_never_blocks(tmp_path: Path) -> None:
    first = Served(tmp_path)
    first.add(1)
    endpoint = first.server.endpoint
    with JournalFollower(endpoint) as journal:
        wait_for(lambda: journal.poll(0.1), WAIT_S, "the first block")
        first.close()
        assert journal.poll() == []
        second = Served(tmp_path, endpoint)
        try:
            second.add(1)
            found = wait_for(lambda: journal.poll(0.1), WAIT_S, "the second block")
            assert [each.id for each in found] == [2]
        finally:
            second.close()
