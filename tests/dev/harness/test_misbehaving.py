import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from dev.harness.load import payloads
from dev.harness.load import receiver as misbehaving
from dev.harness.load.messages import Ask, Count, Listening
from dev.harness.load.pipes import Helper
from dev.harness.waiting import wait_until_sync

Post = Callable[[str], socket.socket]
PAYLOAD = payloads.template(200).fill(0, 1)


@pytest.fixture(scope="module")
def receiver() -> Iterator[Helper]:
    with Helper("receiver", "dev.harness.load.receiver") as helper:
        yield helper


@pytest.fixture(scope="module")
def port(receiver: Helper) -> int:
    return receiver.hear(Listening, 60).port


@pytest.fixture
def post(port: int) -> Iterator[Post]:
    with contextlib.ExitStack() as opened:

        def send(behaviour: str) -> socket.socket:
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            head = f"POST /{behaviour}/0 HTTP/1.1\r\nHost: here\r\nContent-Length: {len(PAYLOAD)}\r\n\r\n"
            connection.sendall(head.encode() + PAYLOAD)
            return connection

        yield send


def _read_for(connection: socket.socket, seconds: float) -> bytes:
    read, deadline = b"", time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        with contextlib.suppress(TimeoutError):
            read += connection.recv(1 << 20)
    return read


def test_behaviors_are_all_tested() -> None:
    assert set(misbehaving.BEHAVIOURS) == {b"hang", b"drip", b"endless-headers", b"flood", b"reset", b"error"}


def test_hang_takes_the_request_and_never_answers(post: Post, receiver: Helper) -> None:
    connection = post("hang")

    wait_until_sync(lambda: receiver.ask(Ask(), Count).deliveries == 1, what="the request to be taken")
    assert _read_for(connection, 0.3) == b""


def test_drip_answers_a_byte_a_second(post: Post) -> None:
    began = time.monotonic()
    connection = post("drip")

    assert connection.recv(1) + connection.recv(1) == b"HT"
    assert time.monotonic() - began >= 0.9


def test_endless_headers_go_on(post: Post) -> None:
    began, read = time.monotonic(), b""
    connection = post("endless-headers")
    while read.count(b"X-") < 5:
        read += connection.recv(1 << 10)

    assert read.startswith(b"HTTP/1.1 200 OK\r\nX-0: ")
    assert b"\r\n\r\n" not in read
    assert time.monotonic() - began >= 0.3


def test_a_flood_comes_as_fast_as_it_is_read_and_no_faster(post: Post) -> None:
    connection = post("flood")
    head = connection.recv(1 << 10)
    # Nobody reads: the receiver does not buffer a gigabyte, and still serves others.
    assert post("error").recv(1 << 10).startswith(b"HTTP/1.1 500 ")

    wanted, read = 64 << 20, 0
    while read < wanted:
        read += len(connection.recv(1 << 20))

    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")


def test_reset_resets(post: Post) -> None:
    connection = post("reset")

    with pytest.raises(ConnectionResetError):
        connection.recv(1)


def test_an_error_leaves_the_connection_open(post: Post) -> None:
    connection = post("error")

    assert connection.recv(1 << 10) == b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    head = f"POST /ok/0 HTTP/1.1\r\nContent-Length: {len(PAYLOAD)}\r\n\r\n"
    connection.sendall(head.encode() + PAYLOAD)
    assert connection.recv(1 << 10).startswith(b"HTTP/1.1 200 OK\r\n")
