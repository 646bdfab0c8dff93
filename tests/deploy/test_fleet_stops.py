"""What the fleet manager does with stops and resets: kept until obeyed, sent again, never twice; without ROS."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from floop_robot.deploy.fleet_stops import MAX_REFS, FleetStops, ResetAnswer
from floop_robot.deploy.stop_messages import EstopRef, PendingStop
from floop_robot.spec.errors import CallRefused
from floop_robot.spec.estop import EstopState
from tests.support.estop_world import play

ROBOTS = ("robot_1", "robot_2")
SCHEDULES = 150
"""`benchmarks/ros_estop_schedules.py` plays more."""


class Link:
    """Records what is sent; a test answers."""

    def __init__(self) -> None:
        self.sent: list[PendingStop] = []
        self.resets: list[tuple[EstopRef, ResetAnswer]] = []
        self.ready = True

    def is_ready(self, robot: str) -> bool:
        return self.ready

    def send_stop(self, stop: PendingStop) -> None:
        self.sent.append(stop)

    def send_reset(self, ref: EstopRef, who: str, token: str, why: str, answer: ResetAnswer) -> None:
        self.resets.append((ref, answer))


class Manager:
    """`FleetStops` on a folder, with a clock and a link of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_s, self.audit = folder / "stops", 100.0, list[tuple[str, str, str]]()
        self.restart()

    def restart(self) -> None:
        """As after a SIGKILL."""
        self.link = Link()
        self.stops = FleetStops(self.folder, ROBOTS, self.link, lambda *a: self.audit.append(a), lambda: self.now_s)

    def hear(self, robot: str = "robot_1", *, later_s: float = 1.0, **state: object) -> list[PendingStop]:
        """What is sent after a robot has spoken."""
        before = len(self.link.sent)
        self.now_s += later_s
        fields = {"latched": False, "stop_id": "a", "request_id": "first", "on_disk": True} | state
        self.stops.observe(robot, EstopState(**fields))  # type: ignore[arg-type]
        self.stops.tick()
        return self.link.sent[before:]

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*"))


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(tmp_path)


@pytest.fixture
def shm() -> Iterator[Path]:
    """A folder in memory: thousands of syncs take no time there."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="floop-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def ref(robot: str = "robot_1", stop_id: str = "a", nonce: str = "n") -> EstopRef:
    return EstopRef(robot=robot, stop_id=stop_id, nonce=nonce)


def test_a_stop_is_sent_at_once_and_kept_for_robots_that_were_never_heard(manager: Manager) -> None:
    manager.stops.stop([], "ann", "a hand", "x")
    assert [(s.robot, s.request_id, s.who, s.why) for s in manager.link.sent] == [
        ("robot_1", "x", "ann", "a hand"),
        ("robot_2", "x", "ann", "a hand"),
    ]
    assert not manager.files, "it acts first"
    assert not manager.stops.is_kept()
    manager.stops.writer.save()
    assert manager.files == ["robot_1", "robot_2"] and manager.stops.is_kept()
    assert manager.audit == [("ann", "stopped robot_1, robot_2", "a hand")]


def test_a_stop_goes_on_after_a_kill_until_the_robot_obeys_and_never_again(manager: Manager) -> None:
    manager.hear()
    manager.stops.stop(["robot_1"], "ann", "", "x")
    manager.stops.writer.save()
    manager.restart()
    manager.stops.tick()
    assert not manager.link.sent, "nothing shows yet that it has not obeyed"
    assert [s.request_id for s in manager.hear()] == ["x"]
    assert [s.request_id for s in manager.hear()] == ["x"]
    assert not manager.hear(latched=True, stop_id="b", request_id="x")
    manager.stops.writer.save()
    assert not manager.files
    manager.restart()
    assert not manager.hear(stop_id="b", request_id="x"), "reset since"
    assert not manager.stops.is_pending("robot_1")


def test_a_robot_that_obeyed_and_was_reset_while_the_manager_was_dead_is_not_stopped_again(manager: Manager) -> None:
    manager.hear()
    manager.stops.stop(["robot_1"], "ann", "", "x")
    manager.stops.writer.save()
    manager.restart()
    assert not manager.hear(latched=False, stop_id="b", request_id="x")
    assert not manager.stops.is_pending("robot_1")


def test_another_stop_id_alone_is_no_obedience(manager: Manager) -> None:
    manager.hear(latched=True)
    manager.stops.stop(["robot_1"], "ann", "", "x")
    assert manager.hear(latched=True, stop_id="b"), "its safety process was started again"
    assert manager.hear(latched=True, stop_id="c", request_id="of another"), "somebody else stopped it"
    assert manager.stops.is_pending("robot_1")
    manager.stops.answer(manager.link.sent[-1], True)
    assert not manager.stops.is_pending("robot_1")


def test_a_request_id_that_was_used_before_is_no_obedience(manager: Manager) -> None:
    manager.hear(stop_id="a", request_id="1")
    manager.stops.stop(["robot_1"], "ann", "", "1")
    assert manager.hear(stop_id="a", request_id="1"), "that was the stop before"
    assert not manager.hear(latched=True, stop_id="b", request_id="1")
    assert not manager.stops.is_pending("robot_1")


def test_a_stop_that_is_not_on_the_robots_disk_stays_pending(manager: Manager) -> None:
    manager.hear()
    manager.stops.stop(["robot_1"], "ann", "", "x")
    manager.stops.answer(manager.link.sent[-1], False)
    assert manager.hear(latched=True, stop_id="b", request_id="x", on_disk=False)
    assert not manager.hear(latched=True, stop_id="b", request_id="x", on_disk=True)
    assert not manager.stops.is_pending("robot_1")


def test_a_repeated_stop_changes_nothing_and_a_newer_one_takes_its_place(manager: Manager) -> None:
    manager.stops.stop(["robot_1"], "ann", "", "x")
    first = manager.link.sent[-1]
    manager.stops.stop(["robot_1"], "ann", "", "x")
    assert manager.link.sent[-1] is first
    assert len(manager.audit) == 1
    manager.stops.stop(["robot_1"], "bob", "a hand", "y")
    assert (manager.link.sent[-1].who, manager.link.sent[-1].why) == ("ann; bob", "a hand"), "a reset is about both"
    manager.stops.answer(first, True)
    assert manager.stops.is_pending("robot_1"), "the later stop has not arrived"


def test_a_text_that_cannot_be_stored_stops_all_the_same(manager: Manager) -> None:
    manager.stops.stop(["robot_1"], "\udcff", "x" * 5000, "")
    manager.stops.writer.save()
    assert manager.files == ["robot_1"] and manager.link.sent[0].who == "?" and len(manager.link.sent[0].why) == 200


def test_a_robot_that_is_silent_is_not_called(manager: Manager) -> None:
    manager.hear()
    manager.stops.stop(["robot_1"], "ann", "", "x")
    manager.link.ready = False
    assert not manager.hear()
    manager.link.ready = True
    manager.now_s += 5.0  # frozen, or cut off
    manager.stops.tick()
    assert len(manager.link.sent) == 1
    assert manager.hear()


def test_unknown_names_are_told_and_the_others_stop(manager: Manager) -> None:
    named, unknown = manager.stops.stop(["robot_1", "robot_3"], "", "")
    assert named == ("robot_1",)
    assert unknown == ("unknown robot 'robot_3'; known: robot_1, robot_2",)
    assert manager.stops.stop(["robot_3"], "ann", "")[0] == (), "not all robots"
    assert [s.robot for s in manager.link.sent] == ["robot_1"]
    assert manager.link.sent[0].who == "unknown"


def test_a_kept_stop_that_cannot_be_read_stops_its_robot(manager: Manager) -> None:
    manager.stops.stop([], "ann", "", "x")
    manager.stops.writer.save()
    whole = (manager.folder / "robot_2").read_bytes()
    for damage in (b"", whole[:-3], b"\0" * 40, whole):  # the last: the stop of another robot
        (manager.folder / "robot_1").write_bytes(damage)
        manager.restart()
        assert f"{manager.folder / 'robot_1'} cannot be read" in manager.stops.error
        assert "robot_1 is stopped; look at it, and reset it" in manager.stops.error
        (sent,) = manager.hear(request_id="x", stop_id="b")
        assert (sent.robot, sent.who, sent.request_id != "x") == ("robot_1", "fleet manager", True)
        manager.stops.writer.save()
        manager.restart()
        assert [s.request_id for s in manager.hear(request_id="x", stop_id="b")] == [sent.request_id], "the same stop"


def test_a_request_id_of_a_robot_that_was_never_heard_is_obedience_only_while_it_is_stopped(manager: Manager) -> None:
    manager.stops.stop(["robot_1"], "ann", "", "1")
    again = manager.hear(latched=False, stop_id="a", request_id="1")
    assert [s.request_id for s in again] == ["1"], "it may have had that id in a stop before, and was reset since"
    assert manager.stops.is_pending("robot_1")
    assert manager.hear(latched=True, stop_id="b", request_id="1", on_disk=False), "its disk does not have it yet"
    assert not manager.hear(latched=True, stop_id="b", request_id="1")
    assert not manager.stops.is_pending("robot_1")


def test_a_folder_that_cannot_be_read_stops_all_robots(manager: Manager) -> None:
    manager.folder.write_text("no folder")
    manager.restart()
    assert all(manager.stops.is_pending(robot) for robot in ROBOTS)
    manager.stops.writer.save()
    assert "cannot be written" in manager.stops.error and not manager.stops.is_kept()


def test_a_stop_acts_although_the_disk_is_full_and_that_is_told(manager: Manager) -> None:
    manager.folder.parent.mkdir(exist_ok=True)
    manager.folder.write_text("in the way")
    manager.stops.stop(["robot_1"], "ann", "", "x")
    manager.stops.writer.save()
    assert manager.link.sent
    report = manager.stops.report()
    assert not report.kept and "robot_1" in report.error
    manager.folder.unlink()
    manager.stops.writer.save()
    report = manager.stops.report()
    assert report.kept and not report.error
    assert manager.files == ["robot_1"]


def test_a_reset_is_forwarded_once_and_answered_for_each_robot(manager: Manager) -> None:
    answers = manager.stops.reset([ref(), ref("robot_2"), ref("robot_7"), ref()], "ann", "token", "aired")
    assert [found[0].robot for found in manager.link.resets] == ["robot_1", "robot_2"]
    manager.link.resets[0][1].set_result((True, "robot_1: reset"))
    assert not answers["robot_2"].done()
    manager.link.resets[1][1].set_result((False, "robot_2: it was stopped again"))
    assert {name: each.result()[0] for name, each in answers.items()} == {
        "robot_1": True, "robot_2": False, "robot_7": False,
    }  # fmt: skip
    assert ("ann", "reset robot_1", "aired") in manager.audit
    for _ in range(5):
        manager.hear(latched=True)
    manager.restart()
    manager.hear(latched=True)
    assert not manager.link.resets, "a manager that was started again has none"


@pytest.mark.parametrize("refs", [[], [ref()] * (MAX_REFS + 1)])
def test_a_reset_of_nothing_or_of_too_much_is_refused(manager: Manager, refs: list[EstopRef]) -> None:
    with pytest.raises(CallRefused, match="name robot, stop_id and nonce of those you saw"):
        manager.stops.reset(refs, "ann", "", "")


@pytest.mark.parametrize(
    ("refs", "why"),
    [
        ([ref(stop_id="")], "give stop_id and nonce"),
        ([ref(nonce="")], "give stop_id and nonce"),
        ([ref(), ref(stop_id="b")], "is named with different stops"),
        ([ref("robot_9")], "unknown robot 'robot_9'"),
    ],
)
def test_a_reset_that_names_no_stop_is_refused(manager: Manager, refs: list[EstopRef], why: str) -> None:
    (answer,) = manager.stops.reset(refs, "ann", "", "").values()
    assert not answer.result()[0] and why in answer.result()[1]
    assert not manager.link.resets


def test_no_reset_passes_a_stop_that_is_pending(manager: Manager) -> None:
    manager.hear(latched=True)
    manager.stops.stop(["robot_1"], "bob", "a hand", "x")
    answers = manager.stops.reset([ref(), ref("robot_2")], "ann", "", "")
    assert "robot_1 has a stop pending (bob: a hand)" in answers["robot_1"].result()[1]
    assert [found[0].robot for found in manager.link.resets] == ["robot_2"]


def test_the_stop_input_stops_on_its_rising_edge_and_holds_resets_back(manager: Manager) -> None:
    for level in (False, True, True):
        manager.stops.inputs.set("/fleet/estop", level)
    assert len(manager.link.sent) == 2
    for stop in manager.link.sent[:2]:
        manager.stops.answer(stop, True)
    refused = manager.stops.reset([ref()], "ann", "", "")["robot_1"].result()
    assert "the fleet's stop input still says stop" in refused[1]
    manager.stops.inputs.set("/fleet/estop", False)
    manager.stops.inputs.set("/fleet/estop", True)
    manager.stops.inputs.set("/fleet/estop", False)
    assert manager.stops.reset([ref()], "ann", "", "")["robot_1"].done(), "another publisher may still say stop"
    manager.now_s += 1.1
    assert len(manager.link.sent) == 2 and not manager.link.resets, "false resets nothing"
    manager.stops.reset([ref()], "ann", "", "")
    assert len(manager.link.resets) == 1


def test_it_writes_by_itself(tmp_path: Path) -> None:
    manager, link = Manager(tmp_path), Link()
    stops = FleetStops(manager.folder, ROBOTS, link, lambda *_: None)
    stops.writer.start()
    stops.stop(["robot_1"], "ann", "", "x")
    stops.observe("robot_1", EstopState(latched=False))
    stops.writer.close()
    assert manager.files == ["robot_1"]


def test_no_kept_stop_is_lost_and_no_reset_is_blind_in_any_order_of_events(shm: Path) -> None:
    worlds = [play(seed, shm / str(seed), with_resets=seed % 2 == 1) for seed in range(SCHEDULES)]
    assert sum(len(ids) for world in worlds for ids in world.kept.values()) > SCHEDULES
    assert sum(world.resets for world in worlds) > SCHEDULES // 20
    assert sum(world.refused for world in worlds) > 0
