"""ShiftDetector: which rows are new, by perceived class, perceived size and failing classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from floop_robot.monitor.shift_detector import SIZE_TOLERANCE, KnownTasks, ShiftDetector
from floop_robot.spec.layout import Field, Layout
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.tasks import get_task

LAYOUT = get_task("floop/Pick-v0").spec.observation


def observation(object_class: str, size_m: float) -> NDArray[np.float32]:
    row = np.zeros(LAYOUT.size, np.float32)
    row[LAYOUT.slices["object_class"].start + OBJECT_CLASSES.index(object_class)] = 1.0
    row[LAYOUT.slices["object_size"]] = size_m
    return row


KNOWN = KnownTasks.of(
    LAYOUT, np.stack([observation("box", 0.04), observation("box", 0.06), observation("cylinder", 0.05)])
)
ROWS = np.stack([observation("box", 0.05), observation("box", 0.09), observation("basket", 0.05)])


def test_known_tasks_are_the_classes_and_sizes_of_the_training_data() -> None:
    assert [k.object_class for k in KNOWN.classes] == ["box", "cylinder"]
    assert np.allclose(KNOWN.classes[0].size_low_m, 0.04) and np.allclose(KNOWN.classes[0].size_high_m, 0.06)


def test_an_unknown_class_or_size_is_new() -> None:
    detector = ShiftDetector(LAYOUT, KNOWN)
    assert detector(ROWS).tolist() == [False, True, True]
    edge = observation("box", 0.06 * (1.0 + 0.9 * SIZE_TOLERANCE))[None]
    assert detector(edge).tolist() == [False], "perception is noisy"


def test_a_failing_known_class_is_new() -> None:
    assert ShiftDetector(LAYOUT, KNOWN)(ROWS, failing=("box",)).tolist() == [True, True, True]
    assert ShiftDetector(LAYOUT, KnownTasks())(ROWS, failing=("box", "reserved")).tolist() == [True, True, False]


def test_a_task_without_objects_has_no_new_rows() -> None:
    layout = Layout((Field(name="joint_position", size=2, unit="rad", low=-1.0, high=1.0),))
    rows = np.zeros((3, 2), np.float32)
    assert KnownTasks.of(layout, rows) == KnownTasks()
    assert not ShiftDetector(layout, KNOWN)(rows, failing=("box",)).any()
