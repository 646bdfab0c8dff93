"""The rest of a message of very many parts is dropped, and nothing of the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import zmq

from floop_robot.transport import pass_over
from floop_robot.transport.zmq_sockets import Context, Socket

PARTS = 200_000


@pytest.fixture
def context() -> Iterator[Context]:
    made: Context = zmq.Context()
    yield made
    made.destroy(0)


@pytest.fixture(params=["compiled", "python"])
def drop_rest(request: pytest.FixtureRequest) -> Callable[[Socket], None]:
    if request.param == "python":
        return pass_over.pass_over_in_python
    compiled = pass_over.compiled_pass_over()
    if compiled is None:
        pytest.skip("there is no compiled code here")

    def drop(socket: Socket) -> None:
        assert compiled(socket)

    return drop


@pytest.mark.parametrize("left", [1, 2, PARTS])
def test_the_rest_of_a_message_is_passed_over_and_nothing_of_the_next(
    context: Context, drop_rest: Callable[[Socket], None], left: int
) -> None:
    reader, writer = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    for peer in (reader, writer):
        peer.setsockopt(zmq.LINGER, 0)
    reader.bind("tcp://127.0.0.1:*")
    writer.connect(reader.getsockopt_string(zmq.LAST_ENDPOINT))
    writer.send_multipart([b"first", *[b""] * (left - 1), bytes(1000)])
    writer.send_multipart([b"next", b"message"])
    assert reader.poll(20_000) and reader.recv() == b"first"
    drop_rest(reader)
    assert reader.poll(20_000) and reader.recv_multipart() == [b"next", b"message"]


def test_compiled_code_says_that_there_is_nothing_to_pass_over(context: Context) -> None:
    compiled = pass_over.compiled_pass_over()
    if compiled is None:
        pytest.skip("there is no compiled code here")
    reader = context.socket(zmq.PULL)
    assert not compiled(reader)
    with pytest.raises(zmq.Again):
        pass_over.pass_over(reader)
