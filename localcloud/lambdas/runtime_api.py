"""The Lambda runtime API of one worker: a small HTTP/1.1 server on a port of its own.

A worker asks for its next invocation, works, and posts the answer, over one connection that is kept. One server for each worker
tells workers apart without any token, because the runtime client has no room for one in its address. Both sides are on
this machine, so packets leave at once (TCP_NODELAY): with Nagle's algorithm each answer would wait 40 ms for an acknowledgement.
"""

import contextlib
import json
import socket
import threading
from dataclasses import dataclass
from typing import BinaryIO, Protocol

HEADER_LINE_MAX_BYTES = 1_200_000  # the runtime client sends an error's X-ray document, up to 1 MiB, as a header
HEADERS_MAX = 100
PREFIX = "/2018-06-01/runtime/"


@dataclass(frozen=True)
class Work:
    """What `invocation/next` answers with."""

    request_id: str
    payload: bytes
    deadline_ms: int  # epoch milliseconds
    function_arn: str


class Desk(Protocol):
    """Who hands out work and takes in answers; every method is called in the worker's connection thread."""

    def next(self) -> Work | None:
        """Wait for work; None: there will be none any more."""

    def respond(self, request_id: str, payload: bytes) -> None: ...

    def fail(self, request_id: str, error: bytes) -> None: ...

    def init_failed(self, error: bytes) -> None: ...


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    body: bytes


class RuntimeApi:
    """Serves `desk` on 127.0.0.1 until `close`. `address` is HOST:PORT for AWS_LAMBDA_RUNTIME_API."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4)
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False
        host, port = self._listener.getsockname()[:2]
        self.address = f"{host}:{port}"
        threading.Thread(target=self._accept, daemon=True, name=f"runtime-api-{port}").start()

    def close(self) -> None:
        """Stop listening and drop every connection."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        for sock in (self._listener, *connections):
            with contextlib.suppress(OSError):  # never connected, or gone already
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._closed:
                    connection.close()
                    return
                self._connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="runtime-api").start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as stream:
                while request := _read(stream, connection):
                    answer = self._answer(request)
                    if answer is None:
                        return
                    connection.sendall(answer)
        except (OSError, ValueError):
            return  # the worker is gone, or speaks no HTTP
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, request: _Request) -> bytes | None:
        parts = request.path.removeprefix(PREFIX).split("/")
        match (request.method, *parts):
            case ("GET", "invocation", "next"):
                work = self._desk.next()
                return None if work is None else _reply(200, work.payload, _work_headers(work))
            case ("POST", "invocation", request_id, "response"):
                self._desk.respond(request_id, request.body)
            case ("POST", "invocation", request_id, "error"):
                self._desk.fail(request_id, request.body)
            case ("POST", "init", "error"):
                self._desk.init_failed(request.body)
            case _:
                return _reply(404, b'{"errorMessage":"no such path in the runtime API"}', {})
        return _reply(202, b'{"status":"OK"}', {})


def _work_headers(work: Work) -> dict[str, str]:
    return {
        "Lambda-Runtime-Aws-Request-Id": work.request_id,
        "Lambda-Runtime-Deadline-Ms": str(work.deadline_ms),
        "Lambda-Runtime-Invoked-Function-Arn": work.function_arn,
    }


def _reply(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    reason = {200: "OK", 202: "Accepted", 404: "Not Found"}[status]
    lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _read(stream: BinaryIO, connection: socket.socket) -> _Request | None:
    line = stream.readline(HEADER_LINE_MAX_BYTES)
    if not line:
        return None
    method, path, _version = line.decode("latin-1").split()
    headers: dict[str, str] = {}
    for _ in range(HEADERS_MAX):
        line = stream.readline(HEADER_LINE_MAX_BYTES)
        if line in (b"\r\n", b"\n", b""):
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _Request(method, path, _read_chunks(stream))
    return _Request(method, path, stream.read(int(headers.get("content-length", "0"))))


def _read_chunks(stream: BinaryIO) -> bytes:
    chunks = []
    while size := int(stream.readline(100).split(b";")[0], 16):
        chunks.append(stream.read(size))
        stream.readline(2)
    while stream.readline(HEADER_LINE_MAX_BYTES) not in (b"\r\n", b"\n", b""):
        pass  # trailers
    return b"".join(chunks)


def error_document(kind: str, message: str) -> bytes:
    """The payload of a failed invocation, as Lambda itself writes it."""
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()
