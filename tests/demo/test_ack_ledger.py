"""What robots were told is safe is counted once per record, however often a process or ingest starts again."""

from __future__ import annotations

from floop_robot.demo.chaos_runner import AckLedger
from floop_robot.demo.snapshot import RobotView, Snapshot
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.robot.policy_loop import PolicyStats
from floop_robot.robot.rate_loop import RateStats, Timing
from floop_robot.services.policy import RobotStats
from floop_robot.stream.spool_writer import WriterStats
from floop_robot.stream.stream_sender import SenderStats
from floop_robot.stream.uploader import UploaderStats

NO_TIME = Timing(0, 0.0, 0.0, 0.0)


def boot(boot_id: str, acked: int, acked_seq: int) -> RobotStats:
    """`acked`: by how much this process saw the mark move; `acked_seq`: where it saw it."""
    policy = PolicyStats(
        state=EpisodeState.WAITING, episode=0, episodes=0, successes=0, aborted=0, transitions=0, records_dropped=0,
        version=1, latency=NO_TIME,
    )  # fmt: skip
    writer = WriterStats(written=0, durable_seq=0, queued=0, dropped=0, refused=0, error="")
    sender = SenderStats(
        acked=acked, acked_seq=acked_seq, behind=0, is_connected=True, replaced=0, malformed=0, trouble=""
    )
    return RobotStats(boot_id, policy, RateStats(0, 0, NO_TIME, NO_TIME), UploaderStats(writer, sender))


def fleet(*boots: RobotStats) -> Snapshot:
    robot = RobotView(name="robot_1", policy=list(boots), safety=[], driver=[])
    return Snapshot(
        fleet=None, robots=(robot,), explorers=(), learner=None, gate=None, learner_boots=0, gate_boots=0
    )  # fmt: skip


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
