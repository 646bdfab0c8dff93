"""Labels correct live success: in the watch, in its references, on the screen; whenever they come, and once only."""

from __future__ import annotations

import sqlite3

import pytest

from floop_robot.registry import Origin, SeenLabel, read_history
from floop_robot.spec.records import Outcome
from tests.rollout.test_fleet import Desk, S


@pytest.fixture
def desk(tmp_path):
    made = Desk(tmp_path)
    yield made
    made.registry.close()


def works(desk, version, outcomes, **changes):
    """Episodes on `version`, as the robot saw them."""
    made = []
    for success in outcomes:
        desk.now_ns += S // 10
        made.append(desk.episodes.make(version, success, seen_ns=desk.now_ns, **changes))
    desk.fleet.observe(made, desk.episodes.read())
    return made


def label(episode, success, seq, boot="later"):
    return SeenLabel(
        robot=episode.robot,
        boot_id=boot,
        seq=seq,
        episode_boot_id=episode.boot_id,
        episode=episode.episode,
        success=success,
        author="ann",
    )


def tally(desk, version=1):
    live = next(v for v in desk.fleet.status().live if version in v.versions)
    return live.classes["box"].successes, live.classes["box"].episodes


def test_a_label_corrects_what_was_counted_and_read_again_changes_nothing(desk):
    made = works(desk, 1, [True] * 5 + [False])
    batch = [label(made[0], False, 1), label(made[5], True, 2), label(made[1], True, 3)]
    for _ in range(3):
        desk.fleet.observe(made, desk.episodes.read(), batch)  # the journal is read again
        assert tally(desk) == (5, 6)
        assert desk.fleet.status().robots[0].successes == 5
    outcomes = [e.outcome for e in read_history(desk.path).episodes]
    assert outcomes == [Outcome.TIMEOUT, *[Outcome.SUCCESS] * 5]
    desk.restart()
    assert tally(desk) == (5, 6)


def test_the_last_label_counts_also_when_the_first_is_read_again(desk):
    made = works(desk, 1, [True])
    first, second = label(made[0], False, 1), label(made[0], True, 2)
    for batch in ([first], [second], [first, second], [first]):
        desk.fleet.observe([], desk.episodes.read(), batch)
    assert tally(desk) == (1, 1)


def test_a_label_may_come_before_its_episode(desk):
    episode = desk.episodes.make(1, True, seen_ns=desk.now_ns)
    desk.fleet.observe([], desk.episodes.read(), [label(episode, True, 1), label(episode, False, 2)])
    desk.restart()
    desk.fleet.observe([episode], desk.episodes.read())
    assert tally(desk) == (0, 1)
    assert (desk.fleet.status().robots[0].successes, desk.fleet.status().robots[0].episodes) == (0, 1)


def test_a_robot_that_takes_its_failures_for_successes_is_rolled_back_by_labels(desk):
    works(desk, 1, [True] * 40)
    desk.submit(1, incumbent=1)
    made = works(desk, 2, [True] * 20)
    assert desk.target() == 2
    for number, episode in enumerate(made):
        desk.fleet.observe([], desk.episodes.read(), [label(episode, False, number)])
    rolled = desk.registry.versions()[-1]
    assert (rolled.origin, rolled.restores) == (Origin.ROLLBACK, 1)


def test_labels_clear_a_version_of_harm_that_was_none(desk):
    """Failures that a person calls successes, in time, keep the version; the reference is corrected as well."""
    references = works(desk, 1, [False] * 40)
    desk.fleet.observe([], desk.episodes.read(), [label(e, True, n) for n, e in enumerate(references)])
    desk.submit(1, incumbent=1)
    for number in range(40):
        (episode,) = works(desk, 2, [False])
        desk.fleet.observe([], desk.episodes.read(), [label(episode, True, 100 + number)])
    assert desk.target() == 2 and desk.fleet.status().confirmed == (2,)
    assert desk.fleet.status().watch.classes[0].reference.successes == 40


def test_an_aborted_episode_stays_out_whatever_its_label_says(desk):
    (episode,) = works(desk, 1, [True], outcome=Outcome.ABORTED)
    desk.fleet.observe([], desk.episodes.read(), [label(episode, True, 1)])
    assert [e.outcome for e in read_history(desk.path).episodes] == [Outcome.ABORTED]


def test_a_registry_of_before_labels_takes_them(desk):
    made = works(desk, 1, [True])
    desk.registry.close()
    with sqlite3.connect(desk.path) as connection:
        connection.execute("DROP TABLE labels")
    connection.close()
    desk._open()
    desk.fleet.observe([], desk.episodes.read(), [label(made[0], False, 1)])
    assert tally(desk) == (0, 1)
