"""A small threaded HTTP/1.1 server for WSGI applications on 127.0.0.1.

Why not the standard library's: an AWS call of the embedded cloud should cost moto's time and little more. One thread a
connection, requests read whole (Content-Length or chunked, `Expect: 100-continue` answered), replies written in one send
with TCP_NODELAY. A body is therefore limited (`BODY_MAX_BYTES`), and so is a head (`HEAD_MAX_BYTES`).
"""

from __future__ import annotations

import contextlib
import io
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote_to_bytes

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HEAD_MAX_BYTES = 64 * 1024
BODY_MAX_BYTES = 256 * 1024 * 1024
HEADERS_MAX = 200

log = logging.getLogger("localcloud.http")


class BadRequest(Exception):
    """What came over the wire is not HTTP that we accept; the text says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class HttpServer:
    """Serves one WSGI application on 127.0.0.1 at a free port (or `port`), from `start()` to `stop()`."""

    def __init__(self, app: WSGIApplication, port: int = 0, name: str = "http") -> None:
        self._app = app
        self._name = name
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self._acceptor: threading.Thread | None = None
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin to accept connections; the port is already bound since construction."""
        self._acceptor = threading.Thread(target=self._accept, name=f"{self._name}-accept", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait (at most 2 s in all) for their threads."""
        with self._lock:
            self._stopping = True
            connections, threads = list(self._connections), list(self._threads)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        if self._acceptor is not None:
            self._acceptor.join(1)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(1 / max(1, len(threads)))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), name=self._name, daemon=True)
            with self._lock:
                if self._stopping:
                    connection.close()
                    return
                self._connections.add(connection)
                self._threads.add(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb", buffering=65536) as stream:
                while not self._stopping and self._exchange(connection, stream):
                    pass
        except OSError:
            pass  # the client went away
        finally:
            with self._lock:
                self._connections.discard(connection)
                self._threads.discard(threading.current_thread())
            connection.close()

    def _exchange(self, connection: socket.socket, stream: Any) -> bool:
        """One request and its reply; False when the connection is to be closed."""
        try:
            environ = read_request(stream, connection, self.port)
        except BadRequest as error:
            body = f"{error}\n".encode()
            connection.sendall(_head(f"{error.status} {HTTPStatus(error.status).phrase}", [], len(body), False) + body)
            return False
        if environ is None:
            return False
        status, headers, body = run_wsgi(self._app, environ)
        keep = environ["localcloud.keep_alive"]
        head_only = environ["REQUEST_METHOD"] == "HEAD"
        head = _head(status, headers, len(body), keep, keep_length=head_only)
        connection.sendall(head if head_only else head + body)
        return bool(keep)


def run_wsgi(app: WSGIApplication, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    """Call a WSGI application; its status line, headers and whole body. A crash in it is a logged 500."""
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        started[:] = [status, headers]
        return written.append

    written: list[bytes] = []
    try:
        chunks = app(environ, start_response)
        try:
            written.extend(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return started[0], started[1], b"".join(written)
    except Exception:
        log.exception("request crashed method=%s path=%s", environ["REQUEST_METHOD"], environ["PATH_INFO"])
        return (
            "500 Internal Server Error",
            [("Content-Type", "text/plain")],
            b"the embedded cloud crashed; see its log\n",
        )


def read_request(stream: Any, connection: socket.socket, port: int) -> dict[str, Any] | None:
    """The WSGI environ of the next request of a connection, its body read whole; None at the end of the stream.

    `RAW_URI` keeps the path and query as sent. Raises BadRequest.
    """
    line = stream.readline(HEAD_MAX_BYTES + 1)
    while line in (b"\r\n", b"\n"):
        line = stream.readline(HEAD_MAX_BYTES + 1)
    if not line:
        return None
    try:
        method, target, version = line.decode("latin-1").split()
    except ValueError:
        raise BadRequest(400, "the request line is not 'METHOD target HTTP/1.1'") from None
    path, _, query = target.partition("?")
    if "://" in path:  # absolute form, as sent to a proxy
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": target,
        "REQUEST_URI": target,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": version,
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    _read_headers(stream, environ, len(line))
    tokens = environ.get("HTTP_CONNECTION", "").lower()
    environ["localcloud.keep_alive"] = "close" not in tokens if version == "HTTP/1.1" else "keep-alive" in tokens
    if environ.get("HTTP_EXPECT", "").lower() == "100-continue":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = _read_body(stream, environ)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ["localcloud.body"] = body
    environ["wsgi.input"] = io.BytesIO(body)
    return environ


def _read_headers(stream: Any, environ: dict[str, Any], size: int) -> None:
    preserved: dict[str, str] = {}
    for _ in range(HEADERS_MAX):
        line = stream.readline(HEAD_MAX_BYTES + 1)
        size += len(line)
        if size > HEAD_MAX_BYTES:
            raise BadRequest(431, f"the request's head is longer than {HEAD_MAX_BYTES} bytes")
        if line in (b"\r\n", b"\n"):
            if preserved:  # moto reads this to give metadata names with underscores back as they were sent
                environ["moto.preserved_header_names"] = preserved
            return
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon:
            raise BadRequest(400, "a header line without a colon, or the head ended early")
        key = name.strip().upper().replace("-", "_")
        if "_" in name:
            if not name.lower().startswith("x-amz-meta-"):
                continue  # X_Foo must not stand in for X-Foo
            preserved[f"HTTP_{key}"] = name
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        value = value.strip()
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    raise BadRequest(431, f"more than {HEADERS_MAX} headers")


def _read_body(stream: Any, environ: dict[str, Any]) -> bytes:
    if "chunked" in environ.pop("HTTP_TRANSFER_ENCODING", "").lower():
        return _read_chunks(stream)
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        raise BadRequest(400, "Content-Length is not a number") from None
    if not 0 <= length <= BODY_MAX_BYTES:
        raise BadRequest(413, f"a body may have at most {BODY_MAX_BYTES} bytes")
    body: bytes = stream.read(length) if length else b""
    if len(body) < length:
        raise BadRequest(400, "the body ended before its Content-Length")
    return body


def _read_chunks(stream: Any) -> bytes:
    chunks: list[bytes] = []
    total = 0
    while True:
        try:
            size = int(stream.readline(1024).split(b";")[0], 16)
        except ValueError:
            raise BadRequest(400, "a chunk without a size") from None
        if size == 0:
            while stream.readline(HEAD_MAX_BYTES) not in (b"\r\n", b"\n", b""):
                pass  # trailers
            return b"".join(chunks)
        total += size
        if size < 0 or total > BODY_MAX_BYTES:
            raise BadRequest(413, f"a body may have at most {BODY_MAX_BYTES} bytes")
        chunks.append(stream.read(size))
        stream.readline(8)


def _head(status: str, headers: list[tuple[str, str]], length: int, keep: bool, *, keep_length: bool = False) -> bytes:
    lines = [f"HTTP/1.1 {status}"]
    has_length = False
    for name, value in headers:
        lowered = name.lower()
        if lowered in ("connection", "transfer-encoding"):
            continue
        if lowered == "content-length":
            if not keep_length:  # the reply to HEAD announces a body that it does not carry
                continue
            has_length = True
        lines.append(f"{name}: {str(value).replace(chr(13), ' ').replace(chr(10), ' ')}")
    if not has_length and not status.startswith(("204", "304")):
        lines.append(f"Content-Length: {length}")
    lines.append("Connection: keep-alive" if keep else "Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
