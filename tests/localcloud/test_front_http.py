"""The HTTP server under the front: what it accepts, what it refuses, and that nothing is left after stop."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from localcloud.http_server import HEAD_MAX_BYTES, HttpServer


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    if environ["PATH_INFO"] == "/crash":
        raise RuntimeError("a bug")
    start_response("200 OK", [("X-Method", environ["REQUEST_METHOD"]), ("X-Raw", environ["RAW_URI"])])
    return [environ["wsgi.input"].read()]


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer(echo)
    server.start()
    yield server
    server.stop()


def talk(server: HttpServer, sent: bytes) -> bytes:
    """All that the server says to some bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        said = b""
        while chunk := connection.recv(65536):
            said += chunk
        return said


def test_one_connection_serves_many_requests(server: HttpServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    for body in (b"one", b"", b"three" * 100_000):
        connection.request("POST", "/a%2Fb?x=1", body=body)
        reply = connection.getresponse()
        assert (reply.status, reply.read(), reply.headers["X-Raw"]) == (200, body, "/a%2Fb?x=1")
    connection.close()


def test_chunked_bodies_are_read(server: HttpServer) -> None:
    head = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = talk(server, head + b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nTrailer: 1\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert said.endswith(b"\r\n\r\nabcde")


def test_expect_100_continue_is_answered(server: HttpServer) -> None:
    said = talk(server, b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    assert said.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_a_reply_to_head_has_no_body(server: HttpServer) -> None:
    said = talk(server, b"HEAD / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi")
    assert said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
        (b"PUT / HTTP/1.1\r\nContent-Length: 10\r\n\r\nshort", 400),
        (b"PUT / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_MAX_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300 + b"\r\n", 431),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /crash HTTP/1.1\r\n\r\n", 500),
    ],
)
def test_what_is_no_request_is_refused_and_harms_nobody(server: HttpServer, sent: bytes, status: int) -> None:
    assert talk(server, sent).startswith(b"HTTP/1.1 %d " % status)
    assert talk(server, b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_in_the_middle_is_forgotten(server: HttpServer) -> None:
    assert talk(server, b"PUT / HTT").startswith(b"HTTP/1.1 400")
    assert talk(server, b"") == b""


def test_an_underscored_header_does_not_stand_in_for_a_dashed_one() -> None:
    seen: list[dict[str, Any]] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return []

    server = HttpServer(app)
    server.start()
    talk(server, b"GET / HTTP/1.1\r\nX_Amz_Security_Token: stolen\r\nx-amz-meta-my_key: v\r\n\r\n")
    server.stop()
    assert "HTTP_X_AMZ_SECURITY_TOKEN" not in seen[0]
    assert seen[0]["HTTP_X_AMZ_META_MY_KEY"] == "v"


def test_stop_closes_the_port_and_every_connection() -> None:
    before = threading.active_count()
    server = HttpServer(echo)
    server.start()
    idle = socket.create_connection(("127.0.0.1", server.port))
    assert talk(server, b"GET / HTTP/1.1\r\n\r\n")
    server.stop()
    assert idle.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    assert threading.active_count() <= before
