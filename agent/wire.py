"""HTTP with kept connections, timeouts and bounded retries. One connection per thread and origin; TCP_NODELAY on all."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from typing import Callable, Mapping, NamedTuple, Optional, Union
from urllib.parse import urlsplit

CONNECT_TIMEOUT_S = 10.0
ATTEMPTS_MAX = 5
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
RETRIED_STATUSES = frozenset((429, 500, 502, 503, 504))
REUSE_IDLE_MAX_S = 15.0  # AWS closes idle connections after about 20 s; a fresh one costs less than a failed request


class FileBody(NamedTuple):
    """A request body that is read from `path` at each try."""

    path: str


Body = Union[bytes, FileBody]


class Reply(NamedTuple):
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Unreachable(Exception):
    """No answer (or only server errors) after all retries. The message says from where and why."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.connections: dict[str, tuple[http.client.HTTPConnection, float]] = {}


_kept = _Kept()


def connect(scheme: str, host: str, timeout_s: float) -> http.client.HTTPConnection:
    """A new connection to `host` ("name" or "name:port")."""
    if scheme == "https":
        import ssl  # costs 10 ms and is not needed where everything is plain HTTP

        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, timeout=timeout_s, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, timeout=timeout_s)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def once(method: str, url: str, headers: Mapping[str, str], body: Body, timeout_s: float) -> Reply:
    """One request over a kept connection; retried at once when a kept connection turns out to be closed.

    Raises OSError or http.client.HTTPException.
    """
    parts = urlsplit(url)
    origin = parts.scheme + "://" + parts.netloc
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    kept, used_at = _kept.connections.pop(origin, (None, 0.0))
    if kept is not None and time.monotonic() - used_at > REUSE_IDLE_MAX_S:
        kept.close()
        kept = None
    while True:
        reused = kept is not None
        connection = kept or connect(parts.scheme, parts.netloc, min(timeout_s, CONNECT_TIMEOUT_S))
        try:
            connection.sock.settimeout(timeout_s)
            if isinstance(body, FileBody):
                with open(body.path, "rb") as file:
                    connection.request(method, target, body=file, headers=dict(headers))
            else:
                connection.request(method, target, body=body or None, headers=dict(headers))
            answer = connection.getresponse()
            reply = Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            kept = None
            # A kept connection that the other side has closed fails before anything is answered; a timeout does not.
            if reused and not isinstance(error, socket.timeout):
                continue
            raise
        if answer.will_close:
            connection.close()
        else:
            _kept.connections[origin] = (connection, time.monotonic())
        return reply


def request(
    method: str,
    url: str,
    headers: Callable[[], Mapping[str, str]],
    body: Body = b"",
    timeout_s: float = 20.0,
    attempts_max: int = ATTEMPTS_MAX,
    retried: Optional[Callable[[Reply], bool]] = None,
) -> Reply:
    """Send, and send again with jittered backoff after a fault or a server error.

    `headers` is called for each try, because a signature carries the time. `retried` names further answers that are worth
    another try. Raises Unreachable when there was no answer at all; a last bad answer is returned.
    """
    fault = ""
    reply: Optional[Reply] = None
    for attempt in range(attempts_max):
        if attempt:
            time.sleep(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** (attempt - 1)) * (0.5 + random.random() / 2))
        try:
            reply = once(method, url, headers(), body, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            fault, reply = "%s: %s" % (type(error).__name__, error), None
            continue
        if reply.status not in RETRIED_STATUSES and not (retried is not None and retried(reply)):
            break
    if reply is None:
        raise Unreachable("no answer from %s after %d tries (%s)" % (urlsplit(url).netloc, attempts_max, fault))
    return reply
