"""Robots and the fleet manager over real sockets."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.numpy
import zmq

from floop_robot.bundle import Bundle, DataRange
from floop_robot.bundle.delivery import (
    TOPIC,
    Announcement,
    FetchPolicy,
    Heartbeat,
    InstallStage,
    PolicyDelivery,
    Receipt,
    ReceiptAck,
    ReceiptReport,
    Refusal,
)
from floop_robot.deploy import Pin, Refused, Unreachable
from floop_robot.deploy.messages import REPLIES, REQUESTS, GetNews, Reply, Request
from floop_robot.deploy.registry import FLEET, Origin, read_history
from floop_robot.durable.framing import deframe_message, frame_message
from floop_robot.robot.local_store import StoredPolicy
from floop_robot.robot.policy_updater import MAX_RECEIPTS
from floop_robot.spec.ids import Ids
from floop_robot.spec.verdict import Decision, SuiteResult
from tests.support.in_process_fleet import ManagerThread, OperatorClient, Robot, verdict
from tests.support.ports import free_base_port
from tests.support.sample_bundles import IDS, TASK, make_bundle
from tests.support.waiting import wait_for


@pytest.fixture
def manager(tmp_path):
    made = ManagerThread(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def robots(tmp_path, manager):
    made: list[Robot] = []

    def make(name: str, **changes) -> Robot:
        fields = {"announcements": manager.announcements, "rpc": manager.rpc}
        robot = Robot(tmp_path, name, **(fields | changes))
        made.append(robot)
        return robot

    yield make
    for robot in made:
        robot.stop()


def acting(robot: Robot, version: int) -> None:
    wait_for(lambda: robot.policy_buffer.acting == version, 20, f"acting on v{version}")


def stages(manager: ManagerThread, robot: str, version: int) -> set[InstallStage]:
    return {
        stored.receipt.stage
        for stored in read_history(manager.path).receipts
        if (stored.receipt.robot, stored.receipt.version) == (robot, version)
    }


ALL_STAGES = {InstallStage.RECEIVED, InstallStage.VERIFIED, InstallStage.INSTALLED, InstallStage.ACTING}


def test_a_version_reaches_every_robot_and_is_receipted(manager, robots):
    fleet = [robots(f"robot_{i}") for i in range(1, 5)]
    for robot in fleet:
        acting(robot, 1)  # joined after v1 was announced: by snapshot
    with manager.client() as client:
        bundle = make_bundle(1)
        assert client.submit(bundle, verdict(bundle)).version == 2
        for i, robot in enumerate(fleet, 1):
            acting(robot, 2)
            wait_for(lambda i=i: stages(manager, f"robot_{i}", 2) == ALL_STAGES)
        receipts = [s.receipt for s in read_history(manager.path).receipts if s.receipt.version == 2]
        by_stage = {r.stage: r.since_received_s for r in receipts if r.robot == "robot_1"}
        assert (
            0 == by_stage[InstallStage.RECEIVED] < by_stage[InstallStage.VERIFIED] <= by_stage[InstallStage.INSTALLED]
        )
        assert by_stage[InstallStage.INSTALLED] <= by_stage[InstallStage.ACTING] < 1
        wait_for(lambda: [r.version for r in client.robots().robots] == [2] * 4)
        status = client.status()
        assert [r.target for r in status.robots] == [2] * 4 and status.production == 2


def test_a_robot_without_broadcasts_fetches(manager, robots):
    deaf = robots("robot_1", announcements=f"tcp://127.0.0.1:{free_base_port()}")
    acting(deaf, 1)
    with manager.client() as client:
        client.push(make_bundle(1))
    acting(deaf, 2)
    assert deaf.notices == []


def test_rollback_pin_and_hold_reach_robots(manager, robots):
    one, two = robots("robot_1"), robots("robot_2")
    with manager.client() as client:
        acting(one, 1)
        acting(two, 1)
        client.push(make_bundle(1))
        acting(two, 2)
        assert client.rollback().version == 3
        wait_for(lambda: len(client.status().robots) == 2)  # commands may speak of robots whose heartbeat was heard
        acting(one, 3)
        acting(two, 3)
        client.hold("robot_1")
        client.pin("robot_2", 2)
        acting(two, 4)
        done = client.push(make_bundle(5))
        assert done.version == 5
        three = robots("robot_3")
        acting(three, 5)
        assert (one.policy_buffer.acting, two.policy_buffer.acting) == (3, 4)
        client.resume("robot_1")
        acting(one, 5)
        client.resume("robot_2")
        acting(two, 5)
        who = {entry.who for entry in client.status().audit}
        assert "anna@bench" in who
        assert [v.version for v in client.policies().versions] == [1, 2, 3, 4, 5]
        assert client.fetch().manifest.version == 5


def test_the_last_good_version_outlives_manager_and_robot(tmp_path, manager, robots):
    robot = robots("robot_1")
    acting(robot, 1)
    wait_for(lambda: (tmp_path / "robot_1" / "policy.floop").exists())
    robot.stop()
    nowhere = f"tcp://127.0.0.1:{free_base_port()}"
    again = robots("robot_1", announcements=nowhere, rpc=nowhere)
    acting(again, 1)
    kept = tmp_path / "robot_1" / "policy.floop"
    again.stop()
    kept.write_bytes(kept.read_bytes()[:1000])
    third = robots("robot_1")  # a damaged file is no policy; the manager has one
    acting(third, 1)
    assert "not used" in third.notices[0]


class Publisher:
    """A faulty fleet manager: sends what the test wants on a PUB socket."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"

    def wait_for_subscriber(self) -> None:
        assert self.socket.poll(20_000)
        self.socket.recv()

    def send(self, payload: bytes) -> None:
        self.socket.send_multipart([TOPIC, payload])

    def close(self) -> None:
        self.socket.close()
        self.context.term()


def announce(version: int, blob: bytes) -> bytes:
    return frame_message(Announcement(version=version, epoch=1, bundle=blob))


def altered(version: int, seed: int = 3, **tensors) -> bytes:
    """Version `version`, every checksum right, other tensors than were checked."""
    import hashlib

    bundle = make_bundle(seed).with_version(version=version, epoch=1, parent=0, certificate=None)
    blob = safetensors.numpy.save(bundle.arrays() | tensors)
    manifest = msgspec.structs.replace(bundle.manifest, sha256=hashlib.sha256(blob).hexdigest())
    return Bundle(manifest, blob).to_bytes()


def test_bad_bundles_are_refused_and_the_version_stays(manager, robots):
    publisher = Publisher()
    try:
        robot = robots("robot_1", announcements=publisher.endpoint)
        publisher.wait_for_subscriber()
        acting(robot, 1)
        good = altered(9)
        other = Ids(contract="0123456789abcdef", limits=IDS.limits, reward=IDS.reward)
        wrong = make_bundle(3, ids=other).with_version(version=9, epoch=1, parent=0, certificate=None)
        nan = np.full(4, np.nan, np.float32)
        flipped = bytearray(good)
        flipped[len(flipped) // 2] ^= 4
        bad = {
            "NaN": altered(9, **{"mean.bias": nan}),
            "shape": altered(9, **{"mean.bias": np.zeros(5, np.float32)}),
            "stored observation": altered(9, **{"mean.bias": np.ones(4, np.float32)}),
            "whole policy bundle": good[: len(good) // 2],
            "damaged": bytes(flipped),
            "0123456789abcdef": wrong.to_bytes(),
            "announced v9 holds v8": altered(8),
        }
        for number, (reason, blob) in enumerate(bad.items(), 1):
            publisher.send(announce(9, blob))
            wait_for(lambda n=number: len(robot.notices) >= n, what=reason)
            notice = robot.notices[-1]
            assert reason in notice and "\n" not in notice
            assert notice.startswith("v9 was refused by robot_1: ") and notice.endswith("robot_1 keeps v1.")
        damaged = bytearray(announce(9, good))
        damaged[100] ^= 1
        publisher.send(bytes(damaged))
        publisher.send(b"noise")
        wait_for(lambda: len(robot.notices) >= len(bad) + 2)
        publisher.send(announce(1, altered(1)))  # not newer: not even looked at
        steps = robot.policy_buffer.steps
        wait_for(lambda: robot.policy_buffer.steps > steps + 20)
        assert robot.policy_buffer.acting == 1 and robot.updater.version == 1
        wait_for(lambda: InstallStage.REFUSED in stages(manager, "robot_1", 9))
        with manager.client() as client:
            assert "keeps v1" in wait_for(lambda: client.status().robots)[0].last_refusal
        publisher.send(announce(10, altered(10)))
        acting(robot, 10)  # and a good one is still taken
    finally:
        publisher.close()


def test_a_policy_that_fails_while_acting_is_reported_with_what_acts_instead(tmp_path, manager, robots):
    robot = robots("robot_1")
    acting(robot, 1)
    with manager.client() as client:
        client.push(make_bundle(1))
        acting(robot, 2)
        client.pin(FLEET, 2)  # so that the fleet manager does not go back
        robot.policy_buffer.last_fallback = (2, 1)  # as the control loop's slots say after an answer of NaN
        shown = wait_for(lambda: next((r for r in client.status().robots if r.last_refusal and r.version == 1), None))
        assert "went back to v1" in shown.last_refusal
        assert shown.target == 2
        wait_for(lambda: InstallStage.REFUSED in stages(manager, "robot_1", 2))
        robot.stop()
        kept = StoredPolicy(tmp_path / "robot_1").load(TASK, IDS, "robot_1")
        assert kept.bundle.manifest.version == 1, "after a restart without the fleet it would act on the bad one"
        again = robots("robot_1")
        client.resume(FLEET)  # now it may go back
        acting(again, 3)
        wait_for(lambda: any(r.version == 3 and not r.last_refusal for r in client.status().robots))


class SlowManager:
    """A fleet manager that answers only when, and what, the test says."""

    def __init__(self) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.peer = b""

    def receive(self) -> Request:
        assert self.socket.poll(20_000)
        self.peer, _, payload = self.socket.recv_multipart()
        return deframe_message(payload, REQUESTS)

    def send(self, reply: Reply) -> None:
        self.socket.send_multipart([self.peer, b"", frame_message(reply)])

    def resent(self) -> list[tuple[int, InstallStage, bool]]:
        """Version, stage and whether it failed: of the receipts that come with the next heartbeat."""
        while not isinstance(self.receive(), Heartbeat):
            pass
        found = []
        while isinstance(request := self.receive(), ReceiptReport):
            receipt = request.receipt
            found.append((receipt.version, receipt.stage, receipt.fallback_version is not None))
        return found

    def close(self) -> None:
        self.socket.close()
        self.context.term()


def test_a_failed_receipt_is_sent_until_acknowledged_apart_from_a_refusal_on_arrival(tmp_path):
    manager = SlowManager()
    robot = Robot(tmp_path, "robot_1", f"tcp://127.0.0.1:{free_base_port()}", manager.endpoint)
    on_arrival, failed = (2, InstallStage.REFUSED, False), (2, InstallStage.REFUSED, True)
    try:
        manager.receive()
        manager.send(PolicyDelivery(version=2, epoch=1, bundle=b"damaged on the way"))
        wait_for(lambda: on_arrival in manager.resent(), what="the refusal on arrival")
        manager.send(PolicyDelivery(version=2, epoch=1, bundle=altered(2)))
        acting(robot, 2)
        robot.policy_buffer.last_fallback = (2, 0)
        wait_for(lambda: failed in manager.resent(), what="the failure")
        manager.send(ReceiptAck(robot="robot_1", version=2, stage=InstallStage.REFUSED))
        manager.send(PolicyDelivery(version=3, epoch=1, bundle=b"damaged, too"))
        wait_for(lambda: (3, InstallStage.REFUSED, False) in manager.resent(), what="receipts of both messages")
        resent = manager.resent()
        assert failed in resent, "nobody acknowledged it"
        assert on_arrival not in resent
        manager.send(ReceiptAck(robot="robot_1", version=2, stage=InstallStage.REFUSED, failed=True))
        wait_for(lambda: failed not in manager.resent(), what="no receipt after its acknowledgement")
    finally:
        robot.stop()
        manager.close()


def test_the_updater_survives_any_number_of_refusals(tmp_path):
    manager = SlowManager()
    robot = Robot(tmp_path, "robot_1", f"tcp://127.0.0.1:{free_base_port()}", manager.endpoint)
    try:
        manager.receive()
        for sent in range(1, 1101):  # 2.0 ** 1024 is more than a float holds
            manager.send(PolicyDelivery(version=2, epoch=1, bundle=b"damaged"))
            if sent % 50 == 0:  # a ROUTER drops what a busy peer's queue has no room for
                wait_for(lambda sent=sent: len(robot.notices) >= sent, 20, f"{sent} refusals")
        manager.send(PolicyDelivery(version=2, epoch=1, bundle=altered(2)))
        acting(robot, 2)
    finally:
        robot.stop()
        manager.close()


def test_of_receipts_that_nobody_acknowledges_the_latest_are_kept(tmp_path):
    manager = SlowManager()
    robot = Robot(tmp_path, "robot_1", f"tcp://127.0.0.1:{free_base_port()}", manager.endpoint)
    try:
        manager.receive()
        last = MAX_RECEIPTS // 2 + 5  # each is received and refused: two receipts
        for version in range(1, last + 1):
            manager.send(PolicyDelivery(version=version, epoch=1, bundle=b"damaged"))
        wait_for(lambda: len(robot.notices) == last, what="all refusals")
        resent = wait_for(lambda: len(found := manager.resent()) == MAX_RECEIPTS and found, what="the receipts kept")
        assert {version for version, _, _ in resent} == set(range(6, last + 1))
    finally:
        robot.stop()
        manager.close()


def test_the_fleet_leaves_a_policy_that_failed_on_one_robot(manager, robots):
    both = [robots(name) for name in ("robot_1", "robot_2")]
    with manager.client() as client:
        client.push(make_bundle(1))
        for robot in both:
            acting(robot, 2)
        both[0].policy_buffer.last_fallback = (2, 1)
        for robot in both:
            acting(robot, 3)
        last = client.policies().versions[-1]
        assert (last.origin, last.restores) == (Origin.ROLLBACK, 1)
        assert wait_for(lambda: all(r.target == r.version == 3 for r in client.status().robots))


def test_an_older_fleet_manager_is_refused(manager, robots):
    publisher = Publisher()
    try:
        robot = robots("robot_1", announcements=publisher.endpoint)
        publisher.wait_for_subscriber()
        acting(robot, 1)
        old = make_bundle(3).with_version(version=9, epoch=0, parent=0, certificate=None).to_bytes()
        publisher.send(announce(9, old))
        wait_for(lambda: robot.notices)
        assert "older fleet manager" in robot.notices[0] and robot.policy_buffer.acting == 1
    finally:
        publisher.close()


def test_a_robot_of_another_contract_gets_one_line_and_no_policy(manager, robots):
    other = Ids(contract="0123456789abcdef", limits=IDS.limits, reward=IDS.reward)
    robot = robots("robot_1", ids=other)
    wait_for(lambda: robot.notices)
    assert "0123456789abcdef" in robot.notices[0] and "has no policy yet" in robot.notices[0]
    assert robot.policy_buffer.acting == 0
    with manager.client() as client:
        status = wait_for(lambda: client.status().robots)
        assert not status[0].contract_fits


def test_junk_on_the_ports_changes_nothing(manager, robots):
    robot = robots("robot_1")
    acting(robot, 1)
    host, port = manager.rpc.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n" * 50)
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.LINGER, 1000)
    dealer.connect(manager.rpc)
    for frames in ([b"x"], [b"id", b"noise"], [b"id", b"\x00" * 50_000], [b""] * 5, [b"id", b"\x91" * 100_000]):
        dealer.send_multipart(frames)
    with manager.client() as client:
        wait_for(lambda: client.status().dropped_messages >= 5)
        client.push(make_bundle(1))
        acting(robot, 2)
        assert client.status().production == 2
    dealer.close()
    context.term()


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, -1])
def test_numbers_that_no_registry_holds_change_nothing(manager, number):
    receipt = Receipt(robot="robot_1", version=number, stage=InstallStage.REFUSED, since_received_s=0.0)
    asked = [
        FetchPolicy(version=number),
        Pin(who="anna", scope="fleet", version=number),
        Heartbeat(robot="robot_1", boot_id="b", contract=IDS.contract, version=number),
        ReceiptReport(receipt=receipt),
        GetNews(audit_after=number - 1),
    ]
    context = zmq.Context()
    with context.socket(zmq.DEALER) as dealer, manager.client() as client:
        dealer.setsockopt(zmq.LINGER, 1000)
        dealer.connect(manager.rpc)
        for request in asked:
            dealer.send_multipart([b"id", frame_message(request)])
            assert dealer.poll(10_000)
            answer = deframe_message(dealer.recv_multipart()[1], REPLIES)
            assert isinstance(answer, Refusal) and "Expected `int`" in answer.reason
        assert client.status().dropped_messages == len(asked)
        assert client.status().robots == () and client.push(make_bundle(1)).version == 2
    context.term()


@pytest.mark.parametrize("number", [-1, 2**62 + 1, 2**64 - 1])
def test_a_candidate_with_a_number_that_no_message_holds_is_refused(manager, number):
    bundle = make_bundle(1)
    suite = SuiteResult(
        name="focus",
        episodes=number,
        candidate_successes=0,
        incumbent_successes=0,
        candidate_interval=(0.0, 1.0),
        candidate_cycle_s=float("nan"),
        incumbent_cycle_s=float("nan"),
        candidate_interventions=0,
        limit_violations=0,
    )
    good = verdict(bundle, decision=Decision.REJECTED)
    unread = make_bundle(1, data=DataRange(journal_to=number))
    with manager.client() as client:
        for judged, named in (
            (msgspec.structs.replace(good, seed=number), "$.seed"),
            (msgspec.structs.replace(good, incumbent_version=number), "$.incumbent_version"),
            (msgspec.structs.replace(good, suites=(suite,)), "$.suites[0].episodes"),
        ):
            with pytest.raises(Refused) as info:
                client.submit(bundle, judged)
            assert named in str(info.value) and "\n" not in str(info.value)
        for refused in (lambda: client.submit(unread, good), lambda: client.push(unread)):
            with pytest.raises(Refused, match="journal_to"):
                refused()
        assert client.candidates() == () and client.status().production == 1
        fits = msgspec.structs.replace(good, seed=2**62, suites=(msgspec.structs.replace(suite, episodes=2**32 - 1),))
        assert client.submit(bundle, fits).new


def test_clients_get_one_line(manager, tmp_path):
    with manager.client() as client:
        with pytest.raises(Refused) as info:
            client.pin("robot_7", 1)
        assert "robot_7" in str(info.value)
        with pytest.raises(Refused):
            client.rollback()
        assert client.hold(FLEET).who == "anna@bench"
    with OperatorClient(f"tcp://127.0.0.1:{free_base_port()}", timeout_s=0.3) as client:
        for ask in (client.status, client.rollback):
            with pytest.raises(Unreachable) as info:
                ask()
            assert "start the fleet" in str(info.value)  # the command never went out: nothing is unknown


def test_threads_end(tmp_path):
    before = threading.active_count()
    manager = ManagerThread(tmp_path)
    robot = Robot(Path(tmp_path), "robot_1", manager.announcements, manager.rpc)
    acting(robot, 1)
    robot.stop()
    manager.stop()
    assert threading.active_count() == before
