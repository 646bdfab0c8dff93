"""Operator commands on a fleet without ROS: who did what and when, and which version each robot acts on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from floop_robot.bundle import Bundle
from floop_robot.deploy import AnyCommand, CommandResult, FleetClient
from floop_robot.robot.policy_updater import PolicyUpdater, UpdaterConfig
from floop_robot.spec.ids import ids_of
from floop_robot.spec.robot_model import load_robot
from floop_robot.spec.tasks import get_task
from tests.support.cli_in_process import PICK, Floop
from tests.support.in_process_fleet import ActingPolicyBuffer
from tests.support.sample_bundles import make_bundle
from tests.support.small_fleet import SmallFleet
from tests.support.waiting import wait_for

RULES = get_task("floop/Pick-v0")
TASK, IDS = RULES.spec, ids_of(RULES, load_robot("panda"))


class Acting:
    """A robot that takes policies and acts on them, between two episodes whenever it is drained."""

    def __init__(self, fleet: SmallFleet, folder: Path, name: str) -> None:
        self.idle, self.drained, self.estop, self.by_fleet_manager = False, False, False, False
        self.policy_buffer = ActingPolicyBuffer(TASK)
        endpoints = fleet.config.endpoints
        config = UpdaterConfig(
            robot=name,
            boot_id="boot",
            announcements=endpoints.fleet,
            rpc=endpoints.fleet_rpc,
            folder=folder / name,
            heartbeat_s=0.1,
        )
        self.updater = PolicyUpdater(config, TASK, IDS, self.policy_buffer, lambda _: None, self)
        self.updater.start()

    def set_fleet_drain(self, drain: bool) -> None:
        self.by_fleet_manager = self.drained = self.idle = drain

    def stop(self) -> None:
        self.updater.stop()
        self.policy_buffer.stop()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    with SmallFleet(tmp_path, Bundle.load(PICK)) as fleet:
        fleet.start("fleet_manager")
        wait_for(fleet.status, 60.0, "the fleet manager")
        yield fleet


@pytest.fixture
def robots(fleet: SmallFleet, tmp_path: Path) -> Iterator[list[Acting]]:
    robots = [Acting(fleet, tmp_path, name) for name in ("robot_1", "robot_2")]
    wait_for(lambda: all(robot.policy_buffer.acting == 1 for robot in robots), what="robots on the baseline")
    yield robots
    for robot in robots:
        robot.stop()


def test_every_command_shows_who_what_when_and_which_robots_act_on_what(
    floop: Floop, fleet: SmallFleet, robots: list[Acting], tmp_path: Path
) -> None:
    options = "--config", str(fleet.file), "--who", "ann"
    make_bundle(1, task=TASK, ids=IDS).save(tmp_path / "one.floop")
    pushed = floop("push", "one.floop", "--why", "a try", *options)
    assert pushed.status == 0
    first, second, third = pushed.out.splitlines()
    assert first.endswith("  ann: pushed v2")
    assert second.startswith("acting on it: robot_1, robot_2")
    assert third.startswith("now acting: robot_1 v2, robot_2 v2")
    assert [robot.policy_buffer.acting for robot in robots] == [2, 2]

    again = floop("push", "v1", *options)
    assert "pushed v3, the bytes of v1" in again.out
    alone = floop("push", "one.floop", "--robot", "robot_2", *options)
    assert "pushed v4 to robot_2 alone" in alone.out
    assert "acting on it: robot_2\n" in alone.out
    assert "pinned to v4" in floop("status", *options[:2]).out

    for words in (["push", "v1"], ["rollback", "v1"]):
        said = floop(*words, *options).out.splitlines()[1]
        assert said.startswith("acting on it: robot_1; ")
        assert said.endswith("; pinned, so not following: robot_2 (v4); `floop resume ROBOT` ends that")
    assert msgspec.json.decode(floop("push", "v3", "--json", *options).out)["pinned"] == {"robot_2": 4}
    assert "resumed fleet; robot_2 pinned still" in floop("resume", *options).out
    assert "ann: published (push) for robot_2 v4" in floop("status", *options[:2]).out
    resumed = floop("resume", "robot_2", *options).out
    assert "resumed robot_2" in resumed
    assert "acting on it: robot_2\n" in resumed
    pinned = msgspec.json.decode(floop("pin", "robot_1", "v2", "--json", *options).out)
    assert pinned["done"]["what"] == "pinned robot_1 to v2, as v8"
    assert pinned["there"] == ["robot_1"]
    assert "held fleet on v7" in floop("hold", *options).out
    assert "resumed fleet" in floop("resume", *options).out
    assert "resumed robot_1" in floop("resume", "robot_1", *options).out
    undone = msgspec.json.decode(floop("rollback", "2", "--json", "--why", "it was good", *options).out)
    assert undone["done"]["why"] == "it was good"
    assert {*undone["there"]} >= {"robot_1", "robot_2"}


def test_a_command_that_was_carried_out_is_no_failure_when_the_fleet_manager_is_gone_then(
    floop: Floop, fleet: SmallFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out = FleetClient.send_command

    def send_command(client: FleetClient, command: AnyCommand) -> CommandResult:
        done = carry_out(client, command)
        fleet.stop("fleet_manager")
        return done

    monkeypatch.setattr(FleetClient, "send_command", send_command)
    found = floop("rollback", "v1", "--config", fleet.file, "--who", "ann")
    assert found.status == 0, found.err
    assert "ann: rolled back to v1, published as v2\n" in found.out
    assert "it was done, but what the robots do now is not known: no fleet manager answers" in found.err


def test_a_command_is_refused_unless_robots_are_on_the_version_that_it_names(floop: Floop, fleet: SmallFleet) -> None:
    options = "--config", str(fleet.file), "--who", "ann"
    assert "pushed v2" in floop("push", "v1", "--if-version", "v1", *options).out
    late = floop("rollback", "--if-version", "1", *options).error
    assert "not done: fleet is on v2 now (push by ann at " in late
    assert "not on v1; give the command again if it is still wanted" in late
    for nothing in ("two", "", "0"):  # an empty variable of a script is no leave to do it in any case
        assert "is no policy version" in floop("hold", "--if-version", nothing, *options).error
    assert "held fleet on v2" in floop("hold", "--if-version", "v2", *options).out


def test_a_robot_is_drained_and_works_again(floop: Floop, fleet: SmallFleet, robots: list[Acting]) -> None:
    options = "--config", str(fleet.file), "--who", "ann"
    drained = floop("drain", "robot_1", *options)
    assert "ann: drained robot_1" in drained.out
    assert "idle: robot_1" in drained.out
    assert [robot.drained for robot in robots] == [True, False]
    assert "drained" in floop("status", *options[:2]).out
    assert "may work: robot_1" in floop("drain", "robot_1", "--end", *options).out
    assert not robots[0].drained


def test_what_cannot_be_done_is_one_line(floop: Floop, fleet: SmallFleet, tmp_path: Path) -> None:
    options = "--config", str(fleet.file)
    make_bundle(1, task=TASK, ids=IDS).save(tmp_path / "one.floop")
    before = floop("policies", "--json", *options).out
    for words in (
        ("push", "one.floop", "--robot", "robot_77"), ("pin", "robot_77", "1"), ("hold", "robot_77"),
        ("resume", "robot_77"), ("drain", "robot_77"),
    ):  # fmt: skip
        assert "unknown robot 'robot_77'; known: fleet, robot_1" in floop(*words, *options).error
    assert "v99" in floop("push", "v99", *options).error
    assert "v99" in floop("pin", "fleet", "v99", *options).error
    assert "is no policy version" in floop("pin", "fleet", "two", *options).error
    (tmp_path / "model.zip").write_bytes(b"PK")
    assert "no stable-baselines3 zip: it is a damaged or empty zip file" in floop("push", "model.zip", *options).error
    assert floop("policies", "--json", *options).out == before


def test_a_fleet_with_a_token_file_asks_for_the_token(
    floop: Floop, fleet: SmallFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.stop("fleet_manager")
    (tmp_path / "operators.yaml").write_text(f"tokens:\n  ann: {hashlib.sha256(b'secret').hexdigest()}\n")
    fleet.config = msgspec.structs.replace(fleet.config, operators=str(tmp_path / "operators.yaml"))
    fleet.file.write_bytes(msgspec.yaml.encode(fleet.config))
    fleet.start("fleet_manager")
    wait_for(fleet.status, 60.0, "the fleet manager")
    hold = "hold", "--config", str(fleet.file), "--who", "ann"
    assert "no valid operator token" in floop(*hold).error
    (tmp_path / "token").write_text("guess\n")
    assert "no valid operator token" in floop(*hold, "--token-file", "token").error
    assert "cannot read none" in floop(*hold, "--token-file", "none").error
    (tmp_path / "token").write_text("secret\n")
    assert "held fleet" in floop(*hold, "--token-file", "token").out
    monkeypatch.setenv("FLOOP_TOKEN", "secret")
    assert "held fleet" in floop(*hold).out


def test_the_learner_is_paused_and_goes_on(floop: Floop, fleet: SmallFleet) -> None:
    pytest.importorskip("stable_baselines3", reason="needs the extra `learn`")
    options = "--config", str(fleet.file), "--who", "ann"
    assert "no learner answers" in floop("learner", "pause", *options).error
    # The shipped policy has a learner's checkpoint beside it; the fleet's own copy of it has none.
    fleet.config = msgspec.structs.replace(fleet.config, baseline=str(PICK))
    fleet.file.write_bytes(msgspec.yaml.encode(fleet.config))
    fleet.start("learner")
    wait_for(lambda: floop("learner", *options[:2]).status == 0, 60.0, "the learner")
    paused = floop("learner", "pause", "--why", "new tote", *options)
    assert "ann: paused the learner\n" in paused.out
    assert "paused, paused by ann: new tote" in paused.out
    assert "paused the learner new tote" in floop("status", *options[:2]).out
    written = msgspec.json.decode(floop("learner", "checkpoint", "--json", *options).out)
    assert written["audited"]
    assert Path(written["learner"]["checkpoint_path"]).is_file()
    fleet.stop("fleet_manager")
    assert "no fleet manager audited it" in floop("learner", "resume", *options).out
    assert "waiting" in floop("learner", *options[:2]).out
