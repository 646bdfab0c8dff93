"""RpcClient: one answer per request, whatever else arrives, and whoever is away for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest
import zmq

from floop_robot.durable.framing import Message, deframe_message, frame_message
from floop_robot.transport.rpc_client import RpcClient
from floop_robot.transport.zmq_sockets import Context, Socket, bind_socket, last_endpoint, receive


class Ask(Message, frozen=True):
    number: int


class Answer(Message, frozen=True):
    number: int


class Other(Message, frozen=True):
    pass


ASKS: msgspec.msgpack.Decoder[Ask] = msgspec.msgpack.Decoder(Ask)
ANSWERS: msgspec.msgpack.Decoder[Answer | Other] = msgspec.msgpack.Decoder(Answer | Other)
Respond = Callable[[Socket, bytes, bytes, Ask], None]


class Server:
    """Answers each request by a function, in a thread."""

    def __init__(self, respond: Respond) -> None:
        self.asked: list[int] = []
        self._respond, self._stop = respond, threading.Event()
        self._context: Context = zmq.Context()
        self._socket = bind_socket(self._context, zmq.ROUTER, "tcp://127.0.0.1:0", "the test")
        self.endpoint = last_endpoint(self._socket)
        self._thread = threading.Thread(target=self._run, name="rpc-server")
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._socket.poll(20) and (frames := receive(self._socket)):
                request = deframe_message(frames[2], ASKS)
                self.asked.append(request.number)
                self._respond(self._socket, frames[0], frames[1], request)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(0)


@pytest.fixture
def serve() -> Iterator[Callable[[Respond], RpcClient[Answer | Other]]]:
    made: list[Server | RpcClient[Answer | Other]] = []

    def start(respond: Respond) -> RpcClient[Answer | Other]:
        server = Server(respond)
        client = RpcClient(server.endpoint, ANSWERS)
        made.extend((client, server))
        return client

    yield start
    for each in made:
        each.close()


def reply(socket: Socket, peer: bytes, request_id: bytes, message: Message) -> None:
    socket.send_multipart([peer, request_id, frame_message(message)])


def test_the_answer_to_a_request_comes_back(serve: Callable[[Respond], RpcClient[Answer | Other]]) -> None:
    client = serve(lambda socket, peer, request_id, ask: reply(socket, peer, request_id, Answer(ask.number + 1)))
    assert client.try_ask(Ask(1), Answer, 20.0) == Answer(2) and client.sent
    assert client.try_ask(Ask(5), (Answer, Other), 20.0) == Answer(6)


def test_other_answers_and_damaged_ones_are_skipped(serve: Callable[[Respond], RpcClient[Answer | Other]]) -> None:
    def respond(socket: Socket, peer: bytes, request_id: bytes, ask: Ask) -> None:
        reply(socket, peer, b"an earlier request", Answer(0))
        socket.send_multipart([peer, request_id])
        socket.send_multipart([peer, request_id, b"????no message"])
        reply(socket, peer, request_id, Other())
        reply(socket, peer, request_id, Answer(ask.number))

    assert serve(respond).try_ask(Ask(3), Answer, 20.0) == Answer(3)


def test_a_request_is_repeated_until_it_is_answered(serve: Callable[[Respond], RpcClient[Answer | Other]]) -> None:
    seen: list[bytes] = []

    def respond(socket: Socket, peer: bytes, request_id: bytes, ask: Ask) -> None:
        seen.append(request_id)
        if len(seen) == 2:
            reply(socket, peer, request_id, Answer(ask.number))

    assert serve(respond).try_ask(Ask(3), Answer, 20.0) == Answer(3)
    assert len(seen) == 2 and len(set(seen)) == 1, "it can be recognized as the same request"


def test_without_an_answer_the_client_knows_whether_it_was_sent(
    serve: Callable[[Respond], RpcClient[Answer | Other]],
) -> None:
    silent = serve(lambda *_: None)
    assert silent.try_ask(Ask(1), Answer, 1.0) is None and silent.sent
    alone = RpcClient("tcp://127.0.0.1:9", ANSWERS)
    assert alone.try_ask(Ask(1), Answer, 0.1) is None and not alone.sent
    alone.close()
