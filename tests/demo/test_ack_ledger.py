"""Each acknowledged record counts once, however often a process or ingest is restarted."""

from __future__ import annotations

from floop_robot.demo.chaos_runner import AckLedger
from floop_robot.demo.snapshot import RobotView, Snapshot
from floop_robot.services.policy import RobotStats
from floop_robot.stream.stream_sender import SenderStats
from floop_robot.stream.uploader import UploaderStats
from tests.support.blank_struct import blank


def boot(boot_id: str, acked: int, acked_seq: int) -> RobotStats:
    """`acked`: by how much this process saw the mark move; `acked_seq`: where it saw it."""
    sender = blank(SenderStats, acked=acked, acked_seq=acked_seq, is_connected=True)
    return blank(RobotStats, boot_id=boot_id, stream=blank(UploaderStats, sender=sender))


def fleet(*boots: RobotStats) -> Snapshot:
    robot = RobotView(name="robot_1", policy=list(boots), safety=[], driver=[])
    return blank(Snapshot, robots=(robot,))


def test_a_mark_that_skips_ahead_or_goes_back_counts_each_record_once() -> None:
    acks = AckLedger()
    # The second process finds by its Hello that 100 are known; then ingest forgets 30 of 150, and hears them again.
    acks.note(fleet(boot("x", 70, 70), boot("x", 180, 150)))
    assert acks.records == 150
    acks.note(fleet(boot("x", 70, 70), boot("x", 180, 120)))
    assert acks.records == 150
    acks.note(fleet(boot("x", 70, 70), boot("x", 180, 150), boot("y", 5, 5)))
    assert acks.records == 155
    assert acks.missing({("robot_1", "x"): 140}) == 10 + 5
