"""Sources of scenarios: the catalog of object models, the training tasks, and objects that robots reported."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np

from floop_robot.monitor.shift_detector import SIZE_TOLERANCE
from floop_robot.robot.messages import Vec3
from floop_robot.spec.calibration import corrected
from floop_robot.spec.errors import UnknownName
from floop_robot.spec.hidden_parameters import Range
from floop_robot.spec.records import ObjectReport, RobotReport
from floop_robot.spec.scenario import ObjectSpec, Scenario, Shape


class ObjectModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a class of objects before any was handled."""

    object_class: str
    shape: Shape
    size_low_m: Vec3
    size_high_m: Vec3
    mass_kg: Range
    lateral_friction: Range

    def draw(self, rng: np.random.Generator, size_m: Vec3 | None = None) -> ObjectSpec:
        """A random object of this class; its size too, unless `size_m` is given."""
        x, y, z = rng.uniform(self.size_low_m, self.size_high_m) if size_m is None else size_m
        if self.shape in (Shape.CYLINDER, Shape.SPHERE):
            y = x
        if self.shape is Shape.SPHERE:
            z = x
        return ObjectSpec(
            object_class=self.object_class,
            shape=self.shape,
            size_m=(float(x), float(y), float(z)),
            mass_kg=float(rng.uniform(*self.mass_kg)),
            lateral_friction=float(rng.uniform(*self.lateral_friction)),
        )


_SMALL, _LARGE = (0.036, 0.036, 0.036), (0.06, 0.06, 0.06)
_MODELS = (
    ObjectModel(
        object_class="box", shape=Shape.BOX, size_low_m=_SMALL, size_high_m=_LARGE,
        mass_kg=(0.05, 0.3), lateral_friction=(0.6, 1.0),
    ),
    ObjectModel(
        object_class="cylinder", shape=Shape.CYLINDER, size_low_m=_SMALL, size_high_m=_LARGE,
        mass_kg=(0.05, 0.3), lateral_friction=(0.6, 1.0),
    ),
    ObjectModel(
        object_class="sphere", shape=Shape.SPHERE, size_low_m=_SMALL, size_high_m=_LARGE,
        mass_kg=(0.05, 0.3), lateral_friction=(0.6, 1.0),
    ),
    ObjectModel(
        object_class="basket", shape=Shape.OPEN_BASKET, size_low_m=(0.096, 0.096, 0.055),
        size_high_m=(0.11, 0.11, 0.065), mass_kg=(0.06, 0.18), lateral_friction=(0.7, 1.0),
    ),
)  # fmt: skip

CATALOG: tuple[ObjectModel, ...] = _MODELS
"""Every object class with a model, as from a maker's drawing; it implies no training on that class."""

MODELED = frozenset(model.object_class for model in CATALOG)
"""Classes that can be simulated."""

TRAINING_CLASSES: tuple[str, ...] = ("box", "cylinder")
"""Classes that the shipped policies were trained on."""


def model_of(object_class: str) -> ObjectModel:
    """The catalog's model of a class; raises `UnknownName` for a class without one."""
    for model in CATALOG:
        if model.object_class == object_class:
            return model
    raise UnknownName("object class", object_class, (m.object_class for m in CATALOG), "the model catalog")


class Area(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle on the table, base frame, m."""

    x_m: Range
    y_m: Range

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """A uniformly random point in it."""
        return float(rng.uniform(*self.x_m)), float(rng.uniform(*self.y_m))


PICK_AREA = Area(x_m=(0.4, 0.6), y_m=(-0.15, 0.15))
PLACE_AREA = Area(x_m=(0.4, 0.6), y_m=(-0.23, 0.07))
TOTE_AREA = Area(x_m=(0.45, 0.55), y_m=(0.24, 0.28))


def _layout(task: str, rng: np.random.Generator) -> tuple[Area, tuple[float, float] | None]:
    """The area of the objects, and the position of the tote if the task has one."""
    if task == "floop/PickPlace-v0":
        return PLACE_AREA, TOTE_AREA.draw(rng)
    return PICK_AREA, None


class TrainingScenarios:
    """Known tasks: objects of the training classes in an area of 20 × 30 cm."""

    def __init__(self, task: str, classes: tuple[str, ...] = TRAINING_CLASSES) -> None:
        self._task = task
        self._models = tuple(model_of(c) for c in classes)

    def sample(self, rng: np.random.Generator) -> Scenario:
        """A random object at a random pose."""
        model = self._models[int(rng.integers(len(self._models)))]
        area, tote = _layout(self._task, rng)
        return Scenario(
            task=self._task,
            seed=int(rng.integers(2**48)),
            object=model.draw(rng),
            object_xy_m=area.draw(rng),
            object_yaw_rad=float(rng.uniform(-math.pi, math.pi)),
            tote_xy_m=tote,
        )


def is_known(report: ObjectReport) -> bool:
    """Whether an object is of a class and size that shipped policies were trained on."""
    if report.object_class not in TRAINING_CLASSES:
        return False
    model = model_of(report.object_class)
    low, high, size = map(np.array, (model.size_low_m, model.size_high_m, report.size_m))
    return bool(((low * (1.0 - SIZE_TOLERANCE) <= size) & (size <= high * (1.0 + SIZE_TOLERANCE))).all())


class ReportedScenarios:
    """Scenarios of objects that robots reported: from perceived class, size and pose and the catalog, nothing else."""

    def __init__(self, task: str, reports: Iterable[RobotReport]) -> None:
        self._task = task
        reports = tuple(reports)
        self._reports = [r for r in reports if r.object.object_class in MODELED]
        if not self._reports:
            reported = ", ".join(sorted({r.object.object_class for r in reports})) or "none"
            raise UnknownName("object class", reported, (m.object_class for m in CATALOG), "the reports")
        positions = np.array([corrected(r.object.position_m, r.object.correction_m)[:2] for r in self._reports])
        low, high = positions.min(0) - 0.02, positions.max(0) + 0.02
        self._area = Area(x_m=(float(low[0]), float(high[0])), y_m=(float(low[1]), float(high[1])))

    def sample(self, rng: np.random.Generator) -> Scenario:
        """A reported object at a random place in the reported area; its size varies by 3 %, as perception errs."""
        chosen = self._reports[int(rng.integers(len(self._reports)))]
        report = chosen.object
        x, y, z = (s * float(rng.uniform(0.97, 1.03)) for s in report.size_m)
        _, tote = _layout(self._task, rng)
        return Scenario(
            task=self._task,
            seed=int(rng.integers(2**48)),
            object=model_of(report.object_class).draw(rng, (x, y, z)),
            object_xy_m=self._area.draw(rng),
            object_yaw_rad=float(rng.uniform(-math.pi, math.pi)),
            tote_xy_m=tote,
            robot=chosen.robot,
        )
