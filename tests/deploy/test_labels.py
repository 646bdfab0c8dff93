"""Labels correct live success: in the watch, in its references, on the screen; whenever they come, and once only."""

from __future__ import annotations

import sqlite3

import pytest

from floop_robot.deploy.commands import Push, Rollback
from floop_robot.deploy.deployment_monitor import Tally
from floop_robot.deploy.registry import LiveLabel, Origin, read_history
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import OutcomeCode
from tests.support.in_process_fleet import CONFIG, FleetHarness, S


@pytest.fixture
def harness(tmp_path):
    made = FleetHarness(tmp_path)
    yield made
    made.registry.close()


def works(harness, version, outcomes, **changes):
    """Episodes on `version`, as the robot saw them."""
    made = []
    for success in outcomes:
        harness.now_ns += S // 10
        made.append(harness.episodes.make(version, success, observed_ns=harness.now_ns, **changes))
    harness.fleet.observe(made, harness.episodes.read())
    return made


def label(episode, success, seq, boot="later"):
    return LiveLabel(
        robot=episode.robot,
        boot_id=boot,
        seq=seq,
        episode_boot_id=episode.boot_id,
        episode=episode.episode,
        success=success,
        author="ann",
    )


def tally(harness, version=1):
    live = next(v for v in harness.fleet.status().live if version in v.versions)
    return live.classes["box"].successes, live.classes["box"].episodes


def test_a_label_corrects_what_was_counted_and_read_again_changes_nothing(harness):
    made = works(harness, 1, [True] * 5 + [False])
    batch = [label(made[0], False, 1), label(made[5], True, 2), label(made[1], True, 3)]
    for _ in range(3):
        harness.fleet.observe(made, harness.episodes.read(), batch)  # the journal is read again
        assert tally(harness) == (5, 6)
        assert harness.fleet.status().robots[0].successes == 5
    outcomes = [e.outcome for e in read_history(harness.path).episodes]
    assert outcomes == [OutcomeCode.TIMEOUT, *[OutcomeCode.SUCCESS] * 5]
    harness.restart()
    assert tally(harness) == (5, 6)


def test_the_last_label_counts_also_when_the_first_is_read_again(harness):
    made = works(harness, 1, [True])
    first, second = label(made[0], False, 1), label(made[0], True, 2)
    for batch in ([first], [second], [first, second], [first]):
        harness.fleet.observe([], harness.episodes.read(), batch)
    assert tally(harness) == (1, 1)


def test_a_label_may_come_before_its_episode(harness):
    episode = harness.episodes.make(1, True, observed_ns=harness.now_ns)
    harness.fleet.observe([], harness.episodes.read(), [label(episode, True, 1), label(episode, False, 2)])
    harness.restart()
    harness.fleet.observe([episode], harness.episodes.read())
    assert tally(harness) == (0, 1)
    assert (harness.fleet.status().robots[0].successes, harness.fleet.status().robots[0].episodes) == (0, 1)


def test_a_robot_that_takes_its_failures_for_successes_is_rolled_back_by_labels(harness):
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    made = works(harness, 2, [True] * 20)
    assert harness.target() == 2
    for number, episode in enumerate(made):
        harness.fleet.observe([], harness.episodes.read(), [label(episode, False, number)])
    rolled = harness.registry.versions()[-1]
    assert (rolled.origin, rolled.restores) == (Origin.ROLLBACK, 1)


def test_labels_clear_a_version_of_harm_that_was_none(harness):
    """Failures that a person calls successes, in time, keep the version; the reference is corrected as well."""
    references = works(harness, 1, [False] * 40)
    harness.fleet.observe([], harness.episodes.read(), [label(e, True, n) for n, e in enumerate(references)])
    harness.submit(1, incumbent=1)
    for number in range(40):
        (episode,) = works(harness, 2, [False])
        harness.fleet.observe([], harness.episodes.read(), [label(episode, True, 100 + number)])
    assert harness.target() == 2 and harness.fleet.status().confirmed == (2,)
    assert harness.fleet.status().watch.classes[0].reference.successes == 40


def test_an_aborted_episode_stays_out_despite_its_label(harness):
    (episode,) = works(harness, 1, [True], outcome=OutcomeCode.ABORTED)
    harness.fleet.observe([], harness.episodes.read(), [label(episode, True, 1)])
    assert [e.outcome for e in read_history(harness.path).episodes] == [OutcomeCode.ABORTED]


def test_a_registry_of_before_labels_takes_them(harness):
    made = works(harness, 1, [True])
    harness.registry.close()
    with sqlite3.connect(harness.path) as connection:
        connection.executescript("DROP TABLE labels; DROP TABLE row_checksums; PRAGMA user_version = 3")
    connection.close()
    harness._open()
    harness.fleet.observe([], harness.episodes.read(), [label(made[0], False, 1)])
    assert tally(harness) == (0, 1)


def test_a_late_label_does_not_let_the_watch_see_what_came_after_it_had_ended(harness):
    """Confirmed and past its watch; then the world changes, and a person corrects one of the first episodes."""
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    made = []
    while not harness.fleet.status().confirmed:
        made += works(harness, 2, [True])
    harness.now_ns += int((CONFIG.watch_s + 5) * S)
    works(harness, 2, [False] * 60)
    harness.fleet.observe([], harness.episodes.read(), [label(made[0], False, 1)])
    assert harness.target() == 2 and harness.fleet.status().confirmed == (2,)
    harness.restart()
    harness.fleet.tick()
    assert harness.target() == 2 and harness.fleet.status().watch.classes[0].tally == Tally(len(made) - 1, len(made))
    for number, episode in enumerate(made[1:]):  # those that the watch did see still count
        harness.fleet.observe([], harness.episodes.read(), [label(episode, False, 2 + number)])
    assert harness.registry.versions()[-1].restores == 1


def test_a_backlog_that_is_seen_at_once_ends_the_watch_at_the_same_episode_after_a_label(harness):
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    harness.now_ns += int((CONFIG.watch_s + 5) * S)
    batch = [harness.episodes.make(2, success, observed_ns=harness.now_ns) for success in [True] * 20 + [False] * 60]
    harness.fleet.observe(batch, harness.episodes.read())
    assert harness.target() == 2
    seen = harness.fleet.status().watch.classes[0].tally.episodes
    harness.fleet.observe([], harness.episodes.read(), [label(batch[0], False, 1)])
    assert harness.target() == 2 and harness.fleet.status().watch.classes[0].tally == Tally(seen - 1, seen)


def test_a_robot_s_tally_is_what_is_stored_whenever_it_was_counted_or_labelled(harness):
    """Episodes that no decision could follow at first, and those of a robot that was not heard before."""
    works(harness, 1, [True, True], robot="guest")
    made = harness.episodes.make(1, True, observed_ns=harness.now_ns)
    with sqlite3.connect(harness.path) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON versions BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    connection.close()
    harness.submit(1, incumbent=1)  # waits, so that every look at time tries to publish it
    for _ in range(2):
        with pytest.raises(StorageError):
            harness.fleet.observe([made], harness.episodes.read())
    with sqlite3.connect(harness.path) as connection:
        connection.execute("DROP TRIGGER full")
    connection.close()
    harness.target("guest")
    harness.fleet.observe([made], harness.episodes.read(), [label(made, False, 1)])
    counts = {r.robot: (r.successes, r.episodes) for r in harness.fleet.status().robots}
    assert counts == {"guest": (2, 2), "robot_1": (0, 1), "robot_2": (0, 0)}
    assert harness.target() == 2  # it was published as soon as that could be stored


def test_the_same_weights_pushed_again_are_watched_until_they_are_confirmed_again(harness):
    works(harness, 1, [True] * 40)
    harness.submit(1, incumbent=1)
    works(harness, 2, [True] * 20)
    harness.command(Rollback, version=1)
    harness.command(Push, version=2)
    harness.now_ns += int((CONFIG.watch_s + 5) * S)
    works(harness, 4, [False] * 60)
    assert harness.registry.versions()[-1].restores == 3
