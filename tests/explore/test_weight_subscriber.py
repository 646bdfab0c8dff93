"""Live weights over real sockets: the newest counts, and a learner's host that vanished is noticed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from floop_policies import baseline
from floop_robot.bundle import Bundle
from floop_robot.explore.weight_subscriber import WeightSubscriber
from floop_robot.services.learner import SocketPublisher
from floop_robot.spec.config import Endpoints, FloopConfig
from floop_robot.transport.zmq_sockets import Context, bind_socket, last_endpoint
from tests.support.flipping_proxy import FlippingProxy
from tests.support.ports import free_base_port
from tests.support.waiting import wait_for

TASK = "floop/Pick-v0"
NEVER = 2**40


class Learner:
    """The learner's weights socket behind a network that may fall silent."""

    def __init__(self) -> None:
        self.context: Context = zmq.Context()
        self.socket = bind_socket(
            self.context, zmq.XPUB, "tcp://127.0.0.1:0", "the learner"
        )  # tells when somebody listens
        self.proxy = FlippingProxy(int(last_endpoint(self.socket).rpartition(":")[2]), every=NEVER)
        endpoints = Endpoints()
        distance = int(endpoints.weights.rpartition(":")[2]) - endpoints.base_port
        port = int(self.proxy.endpoint.rpartition(":")[2])
        self.config = FloopConfig(task=TASK, endpoints=Endpoints(base_port=port - distance))

    def wait_for_listener(self, timeout_s: float = 20.0) -> None:
        assert self.socket.poll(int(1000 * timeout_s)), "nobody listens"
        assert self.socket.recv() == b"\x01"

    def publish(self, version: int) -> None:
        bundle = Bundle.load(baseline(TASK))
        self.socket.send(bundle.with_version(version=version, epoch=1, parent=0, certificate=None).to_bytes())

    def close(self) -> None:
        self.proxy.close()
        self.context.destroy(0)


@pytest.fixture
def learner() -> Iterator[Learner]:
    made = Learner()
    yield made
    made.close()


@pytest.fixture
def weights(learner: Learner) -> Iterator[WeightSubscriber]:
    made = WeightSubscriber(learner.config)
    yield made
    made.close()


def test_a_learners_host_that_vanishes_without_a_word_is_noticed(learner: Learner, weights: WeightSubscriber) -> None:
    learner.wait_for_listener()
    learner.publish(1)
    wait_for(lambda: weights.poll(100), what="the first weights")
    learner.proxy.silence()

    def arrives() -> bool:  # by a connection that the explorer made anew: nothing else tells it of the silence
        learner.publish(2)
        return weights.poll(100)

    wait_for(arrives, 10.0, "the weights of the learner that came back")
    assert weights.version == 2 and weights.refused == 0


def test_only_the_newest_weights_are_acted_on(learner: Learner, weights: WeightSubscriber) -> None:
    learner.wait_for_listener()
    for version in range(1, 9):
        learner.publish(version)
    wait_for(lambda: weights.poll(100) and weights.version == 8, what="the newest weights")
    learner.publish(9)
    assert weights.poll(20_000) and weights.version == 9


def test_an_explorer_that_comes_later_gets_the_weights_that_are_there_once() -> None:
    config = FloopConfig(task=TASK, endpoints=Endpoints(base_port=free_base_port()))
    publisher = SocketPublisher(config.endpoints, "secret")
    publisher.weights(3, Bundle.load(baseline(TASK)))
    late = WeightSubscriber(config)

    def arrives() -> bool:
        publisher.repeat()
        return late.poll(50)

    try:
        wait_for(arrives, 10.0, "weights that were published before it came")
        assert late.version == 3
        for _ in range(30):
            assert not arrives(), "the same weights are no new ones"
        publisher.weights(4, Bundle.load(baseline(TASK)))
        wait_for(arrives, 10.0, "new weights")
        assert late.version == 4
    finally:
        late.close()
        publisher.close()


def test_weights_that_are_refused_are_complained_about_once(learner: Learner, weights: WeightSubscriber) -> None:
    learner.wait_for_listener()
    bundle = Bundle.load(baseline("floop/PickPlace-v0"))  # of another contract
    other = bundle.with_version(version=5, epoch=1, parent=0, certificate=None).to_bytes()

    def arrives() -> bool:
        learner.socket.send(other)
        weights.poll(50)
        return weights.refused > 0

    wait_for(arrives, 10.0, "the refusal")
    for _ in range(20):
        arrives()
    assert weights.refused == 1 and weights.actor is None
    learner.publish(6)
    wait_for(lambda: weights.poll(100), what="good weights")
