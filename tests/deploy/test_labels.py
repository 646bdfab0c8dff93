"""Labels correct live success: in the watch, in its references, on the screen; whenever they come, and once only."""

from __future__ import annotations

import sqlite3

import pytest

from floop_robot.deploy.registry import Origin, SeenLabel, read_history
from floop_robot.deploy.commands import Push, Rollback
from floop_robot.deploy.deployment_monitor import Tally
from floop_robot.spec.errors import StorageError
from floop_robot.spec.records import Outcome
from tests.deploy.in_process_fleet import CONFIG
from tests.deploy.test_request_handler import Desk, S


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


def test_a_late_label_does_not_let_the_watch_see_what_came_after_it_had_ended(desk):
    """Confirmed and past its watch; then the world changes, and a person corrects one of the first episodes."""
    works(desk, 1, [True] * 40)
    desk.submit(1, incumbent=1)
    made = []
    while not desk.fleet.status().confirmed:
        made += works(desk, 2, [True])
    desk.now_ns += int((CONFIG.watch_s + 5) * S)
    works(desk, 2, [False] * 60)
    desk.fleet.observe([], desk.episodes.read(), [label(made[0], False, 1)])
    assert desk.target() == 2 and desk.fleet.status().confirmed == (2,)
    desk.restart()
    desk.fleet.tick()
    assert desk.target() == 2 and desk.fleet.status().watch.classes[0].tally == Tally(len(made) - 1, len(made))
    for number, episode in enumerate(made[1:]):  # those that the watch did see still count
        desk.fleet.observe([], desk.episodes.read(), [label(episode, False, 2 + number)])
    assert desk.registry.versions()[-1].restores == 1


def test_a_backlog_that_is_seen_at_once_ends_the_watch_at_the_same_episode_after_a_label(desk):
    works(desk, 1, [True] * 40)
    desk.submit(1, incumbent=1)
    desk.now_ns += int((CONFIG.watch_s + 5) * S)
    batch = [desk.episodes.make(2, success, seen_ns=desk.now_ns) for success in [True] * 20 + [False] * 60]
    desk.fleet.observe(batch, desk.episodes.read())
    assert desk.target() == 2
    seen = desk.fleet.status().watch.classes[0].tally.episodes
    desk.fleet.observe([], desk.episodes.read(), [label(batch[0], False, 1)])
    assert desk.target() == 2 and desk.fleet.status().watch.classes[0].tally == Tally(seen - 1, seen)


def test_a_robot_s_tally_is_what_is_stored_whenever_it_was_counted_or_labelled(desk):
    """Episodes that no decision could follow at first, and those of a robot that was not heard before."""
    works(desk, 1, [True, True], robot="guest")
    made = desk.episodes.make(1, True, seen_ns=desk.now_ns)
    with sqlite3.connect(desk.path) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON versions BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    connection.close()
    desk.submit(1, incumbent=1)  # waits, so that every look at time tries to publish it
    for _ in range(2):
        with pytest.raises(StorageError):
            desk.fleet.observe([made], desk.episodes.read())
    with sqlite3.connect(desk.path) as connection:
        connection.execute("DROP TRIGGER full")
    connection.close()
    desk.target("guest")
    desk.fleet.observe([made], desk.episodes.read(), [label(made, False, 1)])
    counts = {r.robot: (r.successes, r.episodes) for r in desk.fleet.status().robots}
    assert counts == {"guest": (2, 2), "robot_1": (0, 1), "robot_2": (0, 0)}
    assert desk.target() == 2  # it was published as soon as that could be stored


def test_the_same_weights_pushed_again_are_watched_until_they_are_confirmed_again(desk):
    works(desk, 1, [True] * 40)
    desk.submit(1, incumbent=1)
    works(desk, 2, [True] * 20)
    desk.order(Rollback, version=1)
    desk.order(Push, version=2)
    desk.now_ns += int((CONFIG.watch_s + 5) * S)
    works(desk, 4, [False] * 60)
    assert desk.registry.versions()[-1].restores == 3
