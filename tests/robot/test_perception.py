"""From sightings to an object in the base frame; what can't be told has a reason, is counted and shown."""

from __future__ import annotations

import math

import pytest

from floop_robot.robot.frame_tree import FrameTree
from floop_robot.robot.messages import PerceivedObject
from floop_robot.robot.perception import (
    RECENT_S,
    TF_START_S,
    ObjectFinder,
    PoseLocator,
    RefusalLog,
    Sighting,
    Sightings,
    checked_size,
    choose,
    perceived,
)
from floop_robot.robot.transform import Transform
from floop_robot.spec.frame_config import FixedFrame

S = 1_000_000_000
TOPIC = "object_pose"
CAMERA = {"camera": FixedFrame(xyz_m=(0.5, 0.0, 0.5))}


def seen(frame: str = "camera", x: float = 0.1, stamp_ns: int = 0, score: float = 1.0) -> Sighting:
    return Sighting(frame=frame, stamp_ns=stamp_ns, pose=Transform((x, 0.0, 0.0)), score=score)


class Bench:
    """A finder with a clock of its own and a TF that a test fills."""

    def __init__(self, assumed_frame: str = "", tf: bool = True) -> None:
        self.now_s, self.notices, self.reads = 100.0, list[str](), 0
        self.tree = FrameTree("base", "r/", CAMERA)
        self.refusals = RefusalLog(self.notices.append)
        locator = PoseLocator(self.tree, assumed_frame, self.read if tf else None, lambda: self.now_s)
        self.finder = ObjectFinder(TOPIC, locator, self.refusals, 0.5)

    def read(self) -> None:
        self.reads += 1

    def find(self, *objects: Sighting, age_s: float = 0.0) -> tuple[float, ...] | None:
        found = self.finder.find(Sightings(self.now_s - age_s, objects) if objects else None, self.now_s)
        return found.place.position_m if found and found.place else None

    @property
    def problem(self) -> str:
        return self.refusals.line(self.now_s)


def test_a_frame_of_the_table_needs_no_tf() -> None:
    bench = Bench()
    assert bench.find(seen()) == pytest.approx((0.6, 0.0, 0.5))
    assert bench.find(seen("r/base")) == (0.1, 0.0, 0.0)
    assert (bench.reads, bench.problem) == (0, "")


@pytest.mark.parametrize(
    ("sighting", "words"),
    [
        (seen(""), "frame_id is empty; set it, or assumed_frame"),
        (seen("lens"), "'lens' is neither r/base nor in frames of the driver file; add it there. TF can't be read"),
        (seen(x=450.0), "its x in r/base is 450.5 m, beyond 10 m; give metres"),
    ],
)
def test_what_is_refused_says_why_and_is_counted(sighting: Sighting, words: str) -> None:
    bench = Bench(tf=False)
    for _ in range(3):
        assert bench.find(sighting) is None
        bench.now_s += 0.1
    assert words in bench.problem and bench.problem.startswith("object_pose is refused: ")
    assert bench.refusals.counts[TOPIC] == 3 and len(bench.notices) == 1
    bench.now_s += RECENT_S + 0.1
    assert bench.problem == ""


def test_two_topics_that_are_refused_in_turn_make_two_notices() -> None:
    bench = Bench()
    for i in range(40):
        bench.refusals.add(("a", "b")[i % 2], f"for reason {i}", bench.now_s + i * 0.05)
    assert len(bench.notices) == 2
    assert "a is refused: for reason" in bench.refusals.line(bench.now_s + 2.0)


def test_an_empty_frame_is_the_assumed_one_where_the_driver_names_it() -> None:
    assert Bench("camera").find(seen("")) == pytest.approx((0.6, 0.0, 0.5))


def test_a_frame_that_tf_has_not_told_yet_is_waited_for_first_and_refused_then() -> None:
    bench = Bench()
    assert bench.find(seen("eye")) is None and bench.problem == ""
    bench.tree.add("r/base", "eye", Transform((0.0, 0.3, 0.0)), None)
    assert bench.find() == (0.1, 0.3, 0.0)  # the one that waited
    assert bench.find() is None
    bench.now_s += TF_START_S + 0.1
    assert bench.find(seen("ear")) is None
    assert "'ear' is neither r/base nor in frames of the driver file; TF does not have it" in bench.problem


def test_a_pose_ahead_of_a_moving_cameras_transforms_is_tried_again_and_not_for_ever() -> None:
    bench = Bench()
    bench.tree.add("r/base", "eye", Transform((0.0, 0.0, 0.1)), 10 * S)
    assert bench.find(seen("eye", 0.1, 11 * S)) is None
    bench.now_s += 0.08
    assert bench.find(seen("eye", 0.2, 12 * S)) is None  # the newest is always ahead; the one before it is kept
    bench.tree.add("r/base", "eye", Transform((0.0, 0.0, 0.3)), 11 * S)
    bench.now_s += 0.08
    assert bench.find(seen("eye", 0.3, 13 * S)) == pytest.approx((0.1, 0.0, 0.3))
    assert bench.find(seen("eye", 0.4, 14 * S)) is None
    bench.now_s += 0.6
    assert bench.find() is None
    assert "3 s newer than the newest transform of eye" in bench.problem


def test_no_object_is_an_answer_and_a_fault_is_none() -> None:
    bench = Bench()
    found = bench.finder.find(Sightings(7.0, ()), bench.now_s)
    assert found is not None and found.place is None and found.mono_s == 7.0
    assert bench.finder.find(Sightings(7.0, (), ("detection 0 (mug): bad",)), bench.now_s) is None
    assert bench.problem == "object_pose is refused: detection 0 (mug): bad"
    assert bench.finder.find(None, bench.now_s) is None


def test_the_best_detection_is_taken_and_then_kept() -> None:
    placed = [(seen(x=x, score=score), Transform((x, 0.0, 0.0))) for x, score in ((0.1, 0.6), (0.5, 0.9), (0.7, 0.8))]
    assert choose(placed, None)[0].score == 0.9
    assert choose(placed, (0.12, 0.0, 0.0))[0].score == 0.6
    assert choose(placed, (3.0, 0.0, 0.0))[0].score == 0.9


def test_class_and_size_come_from_the_message_or_from_what_is_assumed() -> None:
    place = Transform((0.5, 0.0, 0.1))
    mug = Sighting(frame="f", stamp_ns=0, pose=Transform(), object_class="mug", size_m=(0.1, 0.08, 0.12))
    found = perceived(mug, place, None)
    assert found == PerceivedObject(
        object_class="mug", size_m=(0.1, 0.08, 0.12), position_m=(0.5, 0.0, 0.1), yaw_rad=0.0
    )
    assert perceived(seen(), place, None) is None
    assumed = PerceivedObject(object_class="box", size_m=(0.1, 0.1, 0.1), position_m=(0.0, 0.0, 0.0), yaw_rad=0.0)
    bare = perceived(seen(), place, assumed)
    assert bare is not None and bare.object_class == "box" and bare.position_m == (0.5, 0.0, 0.1)


@pytest.mark.parametrize("bad", [0.0, -0.1, 45.0, math.nan, math.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_size_that_no_object_has_is_refused_by_axis_and_value(axis: int, bad: float) -> None:
    size = [0.1, 0.1, 0.1]
    size[axis] = bad
    with pytest.raises(ValueError, match=f"size along {'xyz'[axis]} is {bad:g}; give metres"):
        checked_size((size[0], size[1], size[2]))
