"""The interface files speak floop's own vocabulary: same names, same values, units named. Needs no ROS."""

from __future__ import annotations

import enum
import importlib
import importlib.util
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import msgspec
import pytest
import yaml

from floop_robot.bundle import delivery
from floop_robot.deploy import registry
from floop_robot.deploy.deployment_monitor import MonitorDecision
from floop_robot.learn.status import LearnerState
from floop_robot.robot import messages
from floop_robot.robot.episode_state_machine import EpisodeState
from floop_robot.spec import records
from floop_robot.spec.verdict import Decision
from tests.support.ros.interface_files import SOURCES, Interface, message, paths, read

ROOT = SOURCES.parent


def name_of(path: Path) -> str:
    return path.name


@pytest.fixture(params=paths(), ids=name_of)
def interface(request: pytest.FixtureRequest) -> Interface:
    return read(request.param)


def test_it_says_what_it_is_for_and_every_field_what_it_means(interface: Interface) -> None:
    assert len(interface.purpose) > 30
    silent = [e.name for e in interface.entries if e.value is None and len(e.comment) < 5]
    assert silent == []


def test_every_physical_number_names_its_unit(interface: Interface) -> None:
    units = {"_s": "s", "_m": "m", "_n": "N", "_rad": "rad", "_m_s": "m/s", "_bytes": ""}
    for entry in interface.entries:
        if entry.value is None and entry.type.startswith("float"):
            suffix = max((u for u in units if entry.name.endswith(u)), key=len, default="")
            word = units.get(suffix, "")
            per_second = entry.name.endswith("per_s")
            assert per_second or not word or re.search(rf"\b{word}\b", entry.comment), entry


def test_a_caller_names_itself_and_is_answered_what_came_of_it() -> None:
    """Calls that change something carry who, token and call_id, and answer with success, message and record.

    Stops and resets name the stop that they are about instead, and answer with what holds.
    """
    reading = {"ListPolicies.srv", "FleetStatus.srv", "ResetEpisode.srv"}
    estops = {"StopRobot.srv", "StopFleet.srv", "ResetEstop.srv", "ResetFleet.srv"}
    for path in paths():
        if path.suffix != ".srv":
            continue
        entries = read(path).entries
        asked, answered = ([e.name for e in entries if e.part == part and e.value is None] for part in (0, 1))
        assert answered[:2] == ["success", "message"], path.name
        if path.name in estops:
            assert {"who", "why"} < set(asked) and {"request_id", "stop_id", "stops"} & set(asked), path.name
        elif path.name not in reading:
            assert asked[-3:] == ["who", "token", "call_id"], path.name
            assert answered[2] == "record", path.name
            assert (SOURCES / "msg" / "AuditEntry.msg").is_file()


ENUMS: list[tuple[str, str, type[enum.Enum], set[str]]] = [
    # message, prefix of its constants, the enum they repeat, constants of the message's own
    ("EpisodeResult", "OUTCOME_", records.OutcomeCode, set()),
    ("EpisodeResult", "ACT_MODE_", records.ActMode, set()),
    ("EpisodeResult", "SOURCE_", records.Source, set()),
    ("SafetyStatus", "MODE_", messages.SafetyMode, set()),
    ("SafetyStatus", "CAUSE_", messages.Cause, set()),
    ("PolicyStatus", "STAGE_", delivery.InstallStage, {"NONE"}),
    ("PolicyVersion", "ORIGIN_", registry.Origin, set()),
    ("GateVerdict", "DECISION_", Decision, set()),
    ("WatchStatus", "DECISION_", MonitorDecision, set()),
    ("EpisodeState", "PHASE_", EpisodeState, {"READY"}),
    ("LearnerStatus", "STATE_", LearnerState, set()),
]


@pytest.mark.parametrize(("name", "prefix", "kind", "own"), ENUMS, ids=[f"{e[0]}.{e[1]}" for e in ENUMS])
def test_constants_are_those_of_the_code(name: str, prefix: str, kind: type[enum.Enum], own: set[str]) -> None:
    constants = message(name).constants(prefix)
    assert {k: v for k, v in constants.items() if k not in own} == {m.name: str(m.value) for m in kind}
    assert own <= constants.keys()


def test_the_drivers_phases_are_constants_too() -> None:
    phases = message("EpisodeState").constants("PHASE_")
    assert {m.name: m.value for m in messages.Phase}.items() <= phases.items()


def test_an_episode_can_be_ended_with_every_outcome() -> None:
    constants = read(SOURCES / "srv" / "EndEpisode.srv").constants("OUTCOME_")
    assert constants == message("EpisodeResult").constants("OUTCOME_")


MIRRORS: list[tuple[str, str, dict[str, str], set[str]]] = [
    # message, the struct it repeats, fields under another name, fields it leaves out
    (
        "EpisodeResult", "spec.records:EpisodeEnd", {"stamp_ns": "header", "object": "work"},
        # Of the stream; simulator truth never leaves it. What explorers try means nothing to others.
        {"seq", "final_obs", "truth", "tried"},
    ),
    ("AuditEntry", "deploy.registry:AuditEntry", {"stamp_ns": "stamp"}, set()),
    (
        "PolicyVersion", "deploy.registry:VersionInfo",
        {"ids": "contract_id", "decided_ns": "decided", "published_ns": "published", "bytes": "size_bytes"},
        {"calibration"},  # answers to commands tell it in words; `floop policies` lists it
    ),
    (
        "RobotStatus", "deploy.messages:RobotStatus", {"directive": "held"},
        {"acting", "idle"},  # PolicyStatus and EpisodeState of the robot itself
    ),
    (
        "FleetState", "deploy.messages:FleetStatus",
        {"stamp_ns": "header", "production": "production_version", "baseline": "baseline_version",
         "confirmed": "confirmed_versions", "watched_s": "watch", "waiting": "waiting_sha256", "fleet": "held"},
        # Per version: PolicyVersion has the first two. The last two are of the central host, for `floop status`.
        {"live", "candidates", "calibration", "storage", "notes"},
    ),
    ("WatchStatus", "deploy.deployment_monitor:MonitorReport", {}, set()),
    (
        "ClassRecord", "deploy.deployment_monitor:ClassReport",
        {"tally": "successes", "reference": "reference_successes", "failing": "focus"}, set(),
    ),
    ("GateVerdict", "spec.verdict:Verdict", {}, set()),
    ("SuiteResult", "spec.verdict:SuiteResult", {}, set()),
    ("Interventions", "robot.messages:Interventions", {}, set()),
    ("JointTarget", "robot.messages:JointTarget", {}, set()),
    ("SafetyStatus", "robot.messages:SafetyState", {"mono_s": "header"}, set()),
    (
        "LearnerStatus", "learn.status:LearnerStatus", {"checkpoint_ns": "checkpoint_stamp"},
        {"prior_rows", "new_rows"},  # of the demo's screen
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "struct", "renamed", "left_out"), MIRRORS, ids=[m[1] for m in MIRRORS])
def test_every_field_of_the_code_has_one_in_the_message(
    name: str, struct: str, renamed: dict[str, str], left_out: set[str]
) -> None:
    """A field that is added to a struct must be added to its message, or be left out here on purpose."""
    module, _, kind = struct.partition(":")
    if module.startswith("learn.") and importlib.util.find_spec("torch") is None:
        pytest.skip(f"{module} needs the extra `learn`; a robot's own environment has no torch")
    home = importlib.import_module(f"floop_robot.{module}")
    ours = {f.name for f in msgspec.structs.fields(getattr(home, kind))}
    assert left_out <= ours
    assert renamed.keys() <= ours
    wanted = {renamed.get(field, field) for field in ours - left_out}
    assert wanted - message(name).fields.keys() == set()


def test_robot_state_is_spread_over_topics_that_hold_all_of_it() -> None:
    """joint_states has q, dq and efforts, tote_pose the tote; the rest is in messages of floop."""
    covered = {"q_rad", "dq_rad_s", "effort_nm", "tote_m", "tick", "stamp_ns", "mono_s", "truth"}
    covered |= {f"gripper_{name}" for name in message("GripperState").fields}
    covered |= set(message("EpisodeState").fields) | {"object"}
    assert {f.name for f in msgspec.structs.fields(messages.RobotState)} <= covered
    perceived = {"position_m": "pose", "yaw_rad": "pose"}
    wanted = {perceived.get(f.name, f.name) for f in msgspec.structs.fields(messages.PerceivedObject)}
    assert wanted <= message("PerceivedObject").fields.keys()


def test_messages_only_use_packages_the_build_declares() -> None:
    package = ElementTree.parse(SOURCES / "package.xml").getroot()
    declared = {node.text for node in package.findall("depend")}
    cmake = (SOURCES / "CMakeLists.txt").read_text(encoding="utf-8")
    for path in paths():
        used = {t.split("/")[0] for t in read(path).fields.values() if "/" in t}
        assert used <= declared, path.name
    listed = re.search(r"DEPENDENCIES ([\w ]+)\n", cmake)
    assert listed is not None
    assert set(listed[1].split()) == declared


def test_both_sets_of_wheels_pin_the_same_packages_exactly() -> None:
    named = {}
    for distribution in ("jazzy", "kilted"):
        lines = (SOURCES / f"requirements-{distribution}.txt").read_text(encoding="utf-8").splitlines()
        pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
        assert all(version for _, _, version in pins)
        named[distribution] = {name: version for name, _, version in pins}
    runtime = {n for n in named["jazzy"] if n.startswith("ros-") and not re.search("ament|rosidl|cmake", n)}
    assert runtime <= named["kilted"].keys()
    assert all(named["jazzy"][n] != named["kilted"][n] for n in runtime)
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"setuptools=={named['jazzy']['setuptools']}" in constraints
    assert named["jazzy"]["setuptools"] == named["kilted"]["setuptools"]


def test_colcon_knows_both_packages() -> None:
    defaults = yaml.safe_load((ROOT / "colcon_defaults.yaml").read_text(encoding="utf-8"))
    assert {tuple(verb["base-paths"]) for verb in defaults.values()} == {(".", "floop_interfaces")}
    assert {"build", "test", "list"} <= defaults.keys()
    for folder in defaults["build"]["base-paths"]:
        assert (ROOT / folder / "package.xml").is_file()
