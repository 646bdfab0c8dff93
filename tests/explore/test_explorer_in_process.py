"""Explorer: what it practices, and what it reports, without any process around it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from floop_envs.rollout import RolloutResult
from floop_envs.seeds import Purpose, seed_of
from floop_robot.explore.analogy_exploration import AIM_LEAST_M, AIM_RADIUS, SLOWEST, AnalogyPolicy, analogies
from floop_robot.explore.explorer import KNOWN as SHIPPED
from floop_robot.explore.explorer import Explorer
from floop_robot.explore.stall_limit import ENOUGH
from floop_robot.monitor.fleet_summary import FleetSummary
from floop_robot.monitor.shift_detector import KnownClass
from floop_robot.services.explorer import ROWS_PER_WEIGHTS, practices_one_way, rows_per_weights
from floop_robot.spec.config import LearnerConfig
from floop_robot.spec.default_settings import FLEET_PPO
from floop_robot.spec.hyperparameters import PpoSettings
from floop_robot.spec.layout import Vector
from floop_robot.spec.records import ActMode, EpisodeEnd, OutcomeCode, Record, Source, Transition
from floop_robot.spec.scenario import OBJECT_CLASSES
from floop_robot.spec.simulator_fit import fit_event
from floop_robot.spec.tasks import get_task
from floop_robot.stream.codec import decode_block, encode_block
from tests.support.sample_fits import calibration_fit
from tests.support.sample_policies import TASK, episode_end, skilled
from tests.support.sample_records import stream_info

LAYOUT = get_task(TASK).spec.observation
PLACE_LAYOUT = get_task("floop/PickPlace-v0").spec.observation


class Records:
    """A sink that keeps what it is given, or has no room."""

    def __init__(self, room: bool = True) -> None:
        self.room = room
        self.all: list[Record] = []

    def put(self, record: Record) -> bool:
        self.all.append(record)
        return self.room

    @property
    def ends(self) -> list[EpisodeEnd]:
        return [r for r in self.all if isinstance(r, EpisodeEnd)]


def make_explorer(records: Records, **settings: Any) -> Explorer:
    numbers = itertools.count()
    return Explorer(TASK, "panda", records, lambda: seed_of(Purpose.EXPLORER, 0, next(numbers)), **settings)


def fail_at_baskets(explorer: Explorer) -> None:
    report(explorer, [episode_end("basket", success=False, episode=i) for i in range(5)])


def report(explorer: Explorer, ends: list[EpisodeEnd]) -> None:
    explorer.take(decode_block(encode_block(stream_info(), 0, ends)))


def test_known_tasks_are_practiced_while_nothing_fails() -> None:
    records = Records()
    explorer = make_explorer(records)
    for _ in range(6):
        explorer.explore(skilled().actor(), 3)
    explorer.close()
    assert {end.object.object_class for end in records.ends} <= {"box", "cylinder"}
    assert all(end.act_mode is ActMode.SAMPLE and end.policy_version == 3 for end in records.ends)
    rows = [r for r in records.all if isinstance(r, Transition)]
    assert explorer.counts.transitions == len(rows) == sum(end.steps for end in records.ends)
    assert all(math.isfinite(row.log_prob) for row in rows)
    assert explorer.counts.episodes == len({end.episode for end in records.ends}) == 6
    assert explorer.counts.successes == sum(end.outcome == 0 for end in records.ends)


def test_nearly_all_practice_is_on_what_fails_most_of_it_by_analogy() -> None:
    records = Records()
    explorer = make_explorer(records)
    fail_at_baskets(explorer)
    assert explorer.target_classes == ("basket",)
    for _ in range(24):
        explorer.explore(skilled().actor(), 1)
    classes = [end.object.object_class for end in records.ends]
    assert 16 <= classes.count("basket") <= 23
    by_analogy = [end for end in records.ends if end.act_mode is ActMode.TRIAL]
    assert len(by_analogy) > 8 and {end.object.object_class for end in by_analogy} == {"basket"}
    assert all(end.tried for end in by_analogy) and not any(end.tried for end in records.ends if end not in by_analogy)
    explorer.begin_with(FleetSummary())
    assert explorer.target_classes == ()
    explorer.close()


def test_a_way_that_succeeded_is_tried_again_and_told() -> None:
    records = Records()
    explorer = make_explorer(records, one_way=True)
    fail_at_baskets(explorer)
    for _ in range(60):
        explorer.explore(skilled().actor(), 1)
    explorer.close()
    ends = [end for end in records.ends if end.act_mode is ActMode.TRIAL]
    again = [end for number, end in enumerate(ends) if end.tried in [each.tried for each in ends[:number]]]
    places = [(end.object.size_m, end.tried) for end in ends]
    assert len({size for size, _ in places}) < len(places), "new ways are tried where tries failed"
    assert len(again) > 0.3 * len(ends)
    sent = decode_block(encode_block(stream_info(), 0, [replace(end, seq=i) for i, end in enumerate(ends)]))
    assert [end.tried for end in sent.ends] == [end.tried for end in ends]


def test_a_way_that_leaves_the_joint_limits_is_not_repeated() -> None:
    class Pressing(Explorer):
        def _run(self, *args: Any) -> RolloutResult:
            return replace(super()._run(*args), limit_violations=1)

    records, numbers = Records(), itertools.count()
    explorer = Pressing(TASK, "panda", records, lambda: seed_of(Purpose.EXPLORER, 0, next(numbers)), one_way=True)
    fail_at_baskets(explorer)
    for _ in range(60):
        explorer.explore(skilled().actor(), 1)
    explorer.close()
    ends = [end for end in records.ends if end.act_mode is ActMode.TRIAL]
    assert any(end.outcome is OutcomeCode.SUCCESS for end in ends)
    assert len({end.tried for end in ends}) == len(ends)


def test_a_known_class_is_tried_at_its_own_place_and_what_was_tried_before_a_fit_is_forgotten() -> None:
    records = Records()
    explorer = make_explorer(records, one_way=True)
    report(explorer, [episode_end("box", success=False, episode=i) for i in range(5)])
    robot, fitter = stream_info().robot, stream_info("fitter", source=Source.FITTER)
    fit = calibration_fit(robot, (0.0, 0.0, 0.0))

    def tried(episodes: int) -> list[tuple[float, ...]]:
        before = len(records.ends)
        for _ in range(episodes):
            explorer.explore(skilled().actor(), 1)
        return [end.tried for end in records.ends[before:] if end.act_mode is ActMode.TRIAL]

    own = float([known.object_class for known in SHIPPED].index("box"))
    while len(before := [end.tried for end in records.ends if end.act_mode is ActMode.TRIAL]) < 20:
        tried(1)
    assert before[0] == (own, 0.0, 0.0, 0.0, 0.0, SLOWEST)
    successes = explorer.target_successes["box"]
    assert successes > 2
    explorer.fits.take(fitter, [fit_event(replace(fit, explains=False), 0)])
    tried(1)
    assert explorer.target_successes["box"] >= successes, "a fit that explains nothing changes nothing"
    explorer.fits.take(fitter, [fit_event(fit, 0)])
    while not (after := tried(1)):
        pass
    assert after == [before[0]] and explorer.target_successes.get("box", 0) < successes, "it begins anew"
    tried(20)
    successes = explorer.target_successes["box"]
    explorer.fits.take(fitter, [fit_event(fit, 0)])
    tried(1)
    assert explorer.target_successes["box"] >= successes, "a better fit is of the same world"
    explorer.close()


def test_tries_for_cloning_show_the_policy_that_was_not_taught_yet() -> None:
    class Asked:
        def __init__(self) -> None:
            self.actor, self.count = skilled().actor(), 0

        def mean(self, observation: Vector) -> Vector:
            self.count += 1
            return self.actor.mean(observation)

        def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
            return self.actor.sample(observation, rng)

    records = Records()
    explorer = make_explorer(records, one_way=True)
    fail_at_baskets(explorer)
    first, later = Asked(), Asked()
    while not first.count:
        explorer.explore(first, 1)
    before = first.count
    for _ in range(20):
        explorer.explore(later, 2)
    assert first.count > before and not later.count
    report(explorer, [episode_end("basket", success=True, episode=i) for i in range(5, 200)])
    assert not explorer.target_classes
    fail_again = [episode_end("basket", success=False, episode=i) for i in range(200, 240)]
    report(explorer, fail_again)
    while not later.count:
        explorer.explore(later, 3)
    explorer.close()


def test_a_class_begins_with_what_does_best_at_another() -> None:
    records = Records()
    explorer = make_explorer(records, one_way=True)
    fail_at_baskets(explorer)
    best = explorer._best_ways["box"] = analogies(1).draw(np.random.default_rng(0))
    while not (tries := [end.tried for end in records.ends if end.act_mode is ActMode.TRIAL]):
        explorer.explore(skilled().actor(), 1)
    explorer.close()
    assert tries == [tuple(best.tolist())]


def test_stalled_practice_ends_early_and_is_truncated() -> None:
    records = Records()
    explorer = make_explorer(records)
    for _ in range(ENOUGH + 2):  # what known tasks look like says nothing of baskets
        explorer.explore(skilled().actor(), 1)
    fail_at_baskets(explorer)
    for _ in range(400):  # until there were enough successes at baskets, by analogy, and a failure after them
        last = explorer.explore(skilled().actor(), 1).trace[-1]
        early = records.ends[-1]
        if last.truncated and early.steps < get_task(TASK).spec.max_steps:
            break
    else:
        pytest.fail("every failure lasted to the end")
    explorer.close()
    assert early.object.object_class == "basket", "a known task was given up"
    successes = [e for e in records.ends if e.object.object_class == "basket" and e.outcome is OutcomeCode.SUCCESS]
    assert len(successes) >= ENOUGH
    rows = [r for r in records.all if isinstance(r, Transition) and r.episode == early.episode]
    assert rows[-1].truncated and not rows[-1].terminated and len(rows) == early.steps
    assert not any(row.truncated for row in rows[:-1])


def test_only_practice_counts_as_success_at_a_known_class_that_fails() -> None:
    records = Records()
    explorer = make_explorer(records, first_successes=1)
    too_wide = (0.2, 0.2, 0.05)
    failed = [episode_end("box", success=False, episode=i) for i in range(5)]
    report(explorer, [replace(end, object=replace(end.object, size_m=too_wide)) for end in failed])
    for _ in range(100):  # until a box of known size was picked
        explorer.explore(skilled().actor(), 1)
        end = records.ends[-1]
        if end.object.object_class == "box" and end.outcome is OutcomeCode.SUCCESS:
            break
    else:
        pytest.fail("no known box was picked")
    explorer.close()
    assert end.object.size_m[0] < 0.1
    assert explorer.scarce and explorer.target_successes == {}


def test_practice_that_succeeds_is_counted_until_it_is_enough() -> None:
    records = Records()
    explorer = make_explorer(records, first_successes=2)
    assert not explorer.scarce
    report(explorer, [episode_end("box", success=False, episode=i) for i in range(5)])
    for _ in range(100):
        if not explorer.scarce:
            break
        explorer.explore(skilled().actor(), 1)
    assert explorer.target_successes == {"box": 2}
    explorer.begin_with(FleetSummary())
    assert not explorer.scarce and explorer.target_successes == {}
    explorer.close()


def test_on_policy_learners_get_nothing_by_analogy() -> None:
    records = Records()
    explorer = make_explorer(records, analogy_share=0.0)
    fail_at_baskets(explorer)
    for _ in range(8):
        explorer.explore(skilled().actor(), 1)
    explorer.close()
    assert {end.act_mode for end in records.ends} == {ActMode.SAMPLE}


def test_records_without_room_are_counted() -> None:
    records = Records(room=False)
    explorer = make_explorer(records)
    explorer.explore(skilled().actor(), 1)
    explorer.close()
    assert explorer.counts.dropped == len(records.all) > 1


class Echo:
    """A policy that remembers what it was shown."""

    def __init__(self) -> None:
        self.shown = np.zeros(0, np.float32)

    def mean(self, observation: Vector) -> Vector:
        self.shown = observation
        return np.zeros(5, np.float32)

    def sample(self, observation: Vector, rng: np.random.Generator) -> tuple[Vector, float]:
        raise AssertionError("noise would spoil the aim")


class FullSpeed(Echo):
    def mean(self, observation: Vector) -> Vector:
        return np.ones(5, np.float32)


class Down(Echo):
    def mean(self, observation: Vector) -> Vector:
        return np.array([0.0, 0.0, -1.0, 0.0, 0.0], np.float32)


KNOWN = KnownClass("box", (0.04, 0.04, 0.04), (0.06, 0.06, 0.06))
WIDE, LONG = (0.1, 0.1, 0.05), (0.1, 0.04, 0.05)


def true_observation(size: tuple[float, float, float] = WIDE) -> Vector:
    true = np.zeros(LAYOUT.size, np.float32)
    true[LAYOUT.slices["object_size"]] = size
    true[LAYOUT.slices["object_class"].start + OBJECT_CLASSES.index("basket")] = 1.0
    true[LAYOUT.slices["yaw_difference"]] = (0.0, 1.0)
    return true


@pytest.mark.parametrize("seed", range(5))
def test_an_analogy_shows_a_known_object_displaced_by_a_constant(seed: int) -> None:
    echo, analogy = Echo(), analogies(1).draw(np.random.default_rng(seed))
    policy = AnalogyPolicy(echo, LAYOUT, [KNOWN], analogy, lambda: (0.3, 0.0))
    true = true_observation()
    _, density = policy.sample(true, np.random.default_rng(0))
    shown = echo.shown
    assert math.isnan(density)
    assert shown[LAYOUT.slices["object_size"]] == pytest.approx((0.06, 0.06, 0.05))
    assert OBJECT_CLASSES[int(shown[LAYOUT.slices["object_class"]].argmax())] == "box"
    start = LAYOUT.slices["object_from_tcp"].start
    displacement = shown[start : start + 3].copy()
    assert 0.0 < float(np.hypot(*displacement[:2])) <= AIM_RADIUS * 0.1
    assert displacement[2] == pytest.approx(0.05 * analogy[3], abs=1e-6)
    true[start] += 0.3
    policy.mean(true)
    assert echo.shown[start : start + 3] - true[start : start + 3] == pytest.approx(displacement, abs=1e-6)


@pytest.mark.parametrize("height_m", [0.01, 0.05, 0.14])
@pytest.mark.parametrize("aim", [-0.4, 0.0, 0.4])
def test_what_is_shown_of_any_height_agrees_with_itself(height_m: float, aim: float) -> None:
    lift_m, tcp_m = 0.03, 0.09
    echo, analogy = Echo(), np.array([0.0, 0.0, 0.0, aim, 0.0, 1.0])
    true = PLACE_LAYOUT.pack(
        object_size=(0.05, 0.05, height_m),
        object_height=0.5 * height_m + lift_m,
        object_from_tcp=(0.0, 0.0, 0.5 * height_m + lift_m - tcp_m),
        tcp_z=tcp_m,
        tote_from_object=(0.1, 0.2, -0.5 * height_m - lift_m),
    )
    AnalogyPolicy(echo, PLACE_LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    part = {name: echo.shown[place] for name, place in PLACE_LAYOUT.slices.items()}
    height = part["object_height"]
    assert height == pytest.approx(0.5 * part["object_size"][2] + lift_m), "lifted as much as it is"
    assert part["tcp_z"] + part["object_from_tcp"][2] == pytest.approx(height), "its place fits the hand's"
    assert part["tote_from_object"] == pytest.approx((0.1, 0.2, -height[0])), "the tote stands on the same table"


def test_a_tall_object_that_fell_over_still_lies_on_the_table() -> None:
    echo, analogy = Echo(), np.array([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    true = PLACE_LAYOUT.pack(object_size=(0.04, 0.04, 0.14), object_height=0.02, tcp_z=0.02)
    AnalogyPolicy(echo, PLACE_LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    part = {name: echo.shown[place] for name, place in PLACE_LAYOUT.slices.items()}
    assert part["object_height"] == pytest.approx(0.5 * part["object_size"][2])
    assert part["tcp_z"] == pytest.approx(part["object_height"])


@pytest.mark.parametrize(
    ("size", "yaw", "place_yaw"),
    [
        (WIDE, 0.25, 0.25),
        (WIDE, 0.5 * math.pi, 0.0),  # a quarter turn changes nothing
        (WIDE, -math.pi, 0.0),
        (LONG, 0.4 * math.pi, 0.4 * math.pi),
        (LONG, 0.9 * math.pi, -0.1 * math.pi),  # half a turn changes nothing
    ],
)
def test_places_are_along_the_axis_nearest_to_the_gripper(
    size: tuple[float, float, float], yaw: float, place_yaw: float
) -> None:
    echo, analogy = Echo(), np.array([0.0, 0.5, 0.0, 0.0, -0.5 * math.pi, 1.0])
    AnalogyPolicy(echo, LAYOUT, [KNOWN], analogy, lambda: (yaw, 0.0)).mean(true_observation(size))
    start = LAYOUT.slices["object_from_tcp"].start
    expected = (0.05 * math.cos(place_yaw), 0.05 * math.sin(place_yaw))
    assert echo.shown[start : start + 2] == pytest.approx(expected, abs=1e-6)
    assert echo.shown[LAYOUT.slices["yaw_difference"]] == pytest.approx((0.0, -1.0), abs=1e-6)


TOTE = (0.1, 0.2, -0.1)


def shown_of(effort_n: float) -> Vector:
    """What the policy is shown of an object whose wall of 6 mm is between the fingers, and of its tote."""
    true = np.zeros(PLACE_LAYOUT.size, np.float32)
    true[PLACE_LAYOUT.slices["object_size"]], true[PLACE_LAYOUT.slices["object_height"]] = LONG, 0.5 * LONG[2]
    true[PLACE_LAYOUT.slices["gripper_width"]], true[PLACE_LAYOUT.slices["gripper_effort"]] = 0.006, effort_n
    true[PLACE_LAYOUT.slices["tote_from_object"]] = TOTE
    echo, analogy = Echo(), np.array([0.0, 0.5, 0.0, 0.0, 0.0, 1.0])
    AnalogyPolicy(echo, PLACE_LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    return echo.shown


@pytest.mark.parametrize(
    ("effort_n", "width"),
    [
        (20.0, 0.04),  # as wide as the known object
        (1.0, 0.006),  # not held: as it is
    ],
)
def test_a_held_object_is_shown_as_a_known_one_between_the_fingers(effort_n: float, width: float) -> None:
    shown = shown_of(effort_n)
    assert shown[PLACE_LAYOUT.slices["gripper_width"]] == pytest.approx(width)
    assert shown[PLACE_LAYOUT.slices["tote_from_object"]] == pytest.approx(TOTE, abs=1e-6)


@pytest.mark.parametrize(
    ("effort_n", "yaw", "turn"),
    [
        (20.0, 0.1, -0.375),  # 60 % of the way to straight, in one step of 0.16 rad
        (20.0, 0.5 * math.pi + 0.1, -0.375),  # a quarter turn changes nothing for a square tote
        (20.0, 0.5 * math.pi - 0.1, 0.375),  # the shorter way round
        (20.0, 0.5, -1.0),  # no faster than an action may say
        (1.0, 0.1, 0.0),  # not held: the policy turns it
    ],
)
def test_a_held_object_is_turned_parallel_to_the_tote(effort_n: float, yaw: float, turn: float) -> None:
    true = PLACE_LAYOUT.pack(
        object_size=LONG,
        gripper_width=0.006,
        gripper_effort=effort_n,
        yaw_in_tote=(math.sin(4.0 * yaw), math.cos(4.0 * yaw)),
    )
    analogy = np.array([0.0, 0.5, 0.0, 0.0, 0.0, 1.0])
    action = AnalogyPolicy(Echo(), PLACE_LAYOUT, [KNOWN], analogy, lambda: (yaw, 0.0)).mean(true)
    assert action[3] == pytest.approx(turn, abs=1e-3)


@pytest.mark.parametrize(
    ("height", "tote", "move", "grip"),
    [
        (0.15, (0.2, 0.0), (0.0, 0.0, 0.0), -1.0),  # on its way to the tote: held, carried by the policy
        (0.15, (0.04, -0.02), (0.5, -0.25, 0.0), -1.0),  # near: half of the way in one step of 4 cm at most
        (0.15, (0.12, 0.0), (1.0, 0.0, 0.0), -1.0),  # no faster than an action may say
        (0.15, (0.008, 0.0), (0.1, 0.0, -0.3), -1.0),  # over its middle: lowered
        (0.015, (0.008, 0.0), (0.0, 0.0, 0.0), 0.0),  # set down: the policy lets go
    ],
)
def test_a_held_object_is_set_down_in_the_middle_and_not_dropped(
    height: float, tote: tuple[float, float], move: tuple[float, float, float], grip: float
) -> None:
    true = PLACE_LAYOUT.pack(
        object_size=LONG,
        gripper_width=0.006,
        gripper_effort=20.0,
        object_height=height + 0.5 * LONG[2],
        tote_from_object=(*tote, 0.0),
        yaw_in_tote=(0.0, 1.0),
    )
    analogy = np.array([0.0, 0.5, 0.0, 0.0, 0.0, 1.0])
    action = AnalogyPolicy(Echo(), PLACE_LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    assert (*action[:3], action[4]) == pytest.approx((*move, grip), abs=1e-6)


@pytest.mark.parametrize(("tote_x", "up"), [(0.2, -1.0), (0.04, 0.0), (0.008, -0.3)])
def test_a_held_object_is_not_lowered_onto_the_wall(tote_x: float, up: float) -> None:
    """Far from the tote the policy carries it as it likes."""
    true = PLACE_LAYOUT.pack(
        object_size=LONG,
        gripper_width=0.006,
        gripper_effort=20.0,
        object_height=0.15,
        tote_from_object=(tote_x, 0.0, 0.0),
        yaw_in_tote=(0.0, 1.0),
    )
    analogy = np.array([0.0, 0.5, 0.0, 0.0, 0.0, 1.0])
    action = AnalogyPolicy(Down(), PLACE_LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    assert action[2] == pytest.approx(up)


def test_an_object_shown_turned_is_turned_against_the_tote_too() -> None:
    true = PLACE_LAYOUT.pack(object_size=LONG, yaw_in_tote=(0.0, 1.0))
    echo, turn = Echo(), 0.3
    analogy = np.array([0.0, 0.5, 0.0, 0.0, turn, 1.0])
    AnalogyPolicy(echo, PLACE_LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    shown = echo.shown[PLACE_LAYOUT.slices["yaw_in_tote"]]
    assert shown == pytest.approx((math.sin(4.0 * turn), math.cos(4.0 * turn)), abs=1e-6)


@pytest.mark.parametrize(("effort_n", "speed"), [(20.0, 0.4), (1.0, 1.0)])
def test_a_held_object_may_be_moved_slowly(effort_n: float, speed: float) -> None:
    true = true_observation(LONG)
    true[LAYOUT.slices["gripper_width"]], true[LAYOUT.slices["gripper_effort"]] = 0.04, effort_n
    analogy = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.4])
    action = AnalogyPolicy(FullSpeed(), LAYOUT, [KNOWN], analogy, lambda: (0.0, 0.0)).mean(true)
    assert action.tolist() == pytest.approx([speed, speed, speed, 1.0, 1.0])


def test_places_at_a_flat_object_reach_as_far_as_at_a_thicker_one() -> None:
    echo, true = Echo(), true_observation((0.05, 0.05, 0.008))
    AnalogyPolicy(echo, LAYOUT, [KNOWN], np.array([0.0, 0.0, 0.0, -0.3, 0.0, 1.0]), lambda: (0.0, 0.0)).mean(true)
    assert echo.shown[LAYOUT.slices["object_from_tcp"]][2] == pytest.approx(-0.3 * AIM_LEAST_M)


def test_explorers_may_make_the_rows_of_an_update_of_ppo() -> None:
    assert rows_per_weights(LearnerConfig()) == ROWS_PER_WEIGHTS
    assert rows_per_weights(LearnerConfig(algo="ppo")) == 4 * FLEET_PPO.n_steps
    assert rows_per_weights(LearnerConfig(algo="ppo", ppo=PpoSettings(n_steps=9000))) >= 9000


def test_only_who_clones_tries_has_them_repeat_one_way() -> None:
    assert practices_one_way(LearnerConfig(algo="ppo"))
    assert not practices_one_way(LearnerConfig(algo="ppo", ppo=PpoSettings(imitation_utd_ratio=0.0)))
    assert not practices_one_way(LearnerConfig(algo="sac"))
