"""The door before moto: who calls, may they, intercept, forward, observe.

One HTTP port serves every AWS service, as `AWS_ENDPOINT_URL` wants it, plus whatever is mounted under a path prefix (the
REST API, the fault switch). moto runs behind it in this process, so the rest of the embedded cloud reads moto's backends
directly (`moto.backends.get_backend`).

moto's backends do not lock: a conditional put is a check and then a write, and two threads can both pass the check. So calls
into moto are serialized for each service (`exclusive`). Interceptors and observers run outside of that lock and may call back in.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, Protocol

from localcloud.calls import AwsCall, AwsReply, read_call, refusal, with_body
from localcloud.http_server import HttpServer, WSGIApplication, run_wsgi
from localcloud.identity import Identities
from localcloud.moto_app import MotoApp

__all__ = ["AwsCall", "AwsReply", "Front", "WSGIApplication"]

DEVELOPER = "developer"  # any key that was not issued here will do

UNLOCKED = frozenset(
    {"sqs"}
)  # its queues have locks of their own (sources/queues.py), because receiving may wait for 20 s

Forward = Callable[[AwsCall], AwsReply]
Interceptor = Callable[[AwsCall, Forward], AwsReply]
Observer = Callable[[AwsCall, AwsReply], None]

log = logging.getLogger("localcloud.front")


class Guard(Protocol):
    """Says whether a call may go on: None, or the reply that refuses it."""

    def check(self, call: AwsCall) -> AwsReply | None: ...


class Front:
    """The embedded cloud's AWS endpoint: construct, register, `start()`, `stop()`.

    `url` is known from construction on. `guards` are asked in order before anything else sees the call.
    """

    def __init__(self, identities: Identities, guards: Iterable[Guard] = (), port: int = 0) -> None:
        self._identities = identities
        self._guards = list(guards)
        self._interceptors: dict[tuple[str, str], list[Interceptor]] = {}
        self._observers: dict[tuple[str, str], list[Observer]] = {}
        self._mounts: dict[str, WSGIApplication] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._locks_lock = threading.Lock()
        self._current: contextvars.ContextVar[AwsCall | None] = contextvars.ContextVar("current_call", default=None)
        self._moto = MotoApp()
        self._server = HttpServer(self._serve, port, name="front")
        self.url = self._server.url
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._clients_lock = threading.Lock()
        self.calls: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        """Serve from now on."""
        self._server.start()
        self._moto.preload()

    def stop(self) -> None:
        """Close the port and all connections; calls in progress get 2 s."""
        self._server.stop()

    def guard(self, guard: Guard) -> None:
        """Add a guard behind those there are."""
        self._guards.append(guard)

    def intercept(self, service: str, action: str, interceptor: Interceptor) -> None:
        """Put a function around an operation; the first registered is the outermost. It may forward, alter or answer itself."""
        self._interceptors.setdefault((service, action), []).append(interceptor)

    def observe(self, service: str, action: str, observer: Observer) -> None:
        """Call a function after every 2xx reply of an operation, in the caller's thread, before the caller is answered."""
        self._observers.setdefault((service, action), []).append(observer)

    def mount(self, path_prefix: str, app: WSGIApplication) -> None:
        """Serve a WSGI application under a prefix like "/_rest"; it sees the prefix as SCRIPT_NAME."""
        self._mounts[path_prefix.rstrip("/")] = app

    def client(self, service: str, region: str = "us-east-1") -> Any:
        """A boto3 client of this cloud, as the developer; made once for each service and region, safe in any thread."""
        with self._clients_lock:
            if (service, region) not in self._clients:
                self._clients[service, region] = self._new_client(service, region)
            return self._clients[service, region]

    def _new_client(self, service: str, region: str) -> Any:
        from botocore.config import Config

        if self._session is None:
            import boto3

            self._session = boto3.session.Session(aws_access_key_id=DEVELOPER, aws_secret_access_key=DEVELOPER)
        config = Config(
            retries={"total_max_attempts": 1},
            max_pool_connections=32,
            inject_host_prefix=False,
            signature_version="s3v4" if service == "s3" else None,  # boto3 would sign URLs the old way
        )
        return self._session.client(service, region_name=region, endpoint_url=self.url, config=config)

    @contextlib.contextmanager
    def exclusive(self, service: str) -> Iterator[None]:
        """Hold moto's state of a service still, for those who read and change a backend directly. Keep it short."""
        with self._lock_of(service):
            yield

    def current(self) -> AwsCall | None:
        """The call that moto is performing in this thread; None outside of one."""
        return self._current.get()

    def _lock_of(self, service: str) -> threading.RLock:
        with self._locks_lock:
            return self._locks.setdefault(service, threading.RLock())

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if path.startswith("/_"):  # no bucket name begins so
            for prefix, app in self._mounts.items():
                if path == prefix or path.startswith(prefix + "/"):
                    environ["SCRIPT_NAME"], environ["PATH_INFO"] = prefix, path[len(prefix) :]
                    return app(environ, start_response)
        reply = self.handle(read_call(environ))
        start_response(f"{reply.status} {_phrase(reply.status)}", list(reply.headers.items()))
        return [reply.body]

    def handle(self, call: AwsCall) -> AwsReply:
        """Perform a call as if it had come over the wire."""
        if call.access_key is not None:
            call.principal = self._identities.principal(call.access_key)
        self.calls[call.service, call.action] += 1
        started = time.perf_counter()
        for guard in self._guards:
            denied = guard.check(call)
            if denied is not None:
                return denied
        reply = self._through(self._interceptors.get((call.service, call.action), []), call)
        if log.isEnabledFor(logging.DEBUG):
            log.debug(
                "call service=%s action=%s status=%d who=%s ms=%.1f",
                *(call.service, call.action, reply.status),
                *(call.principal.userid if call.principal else "developer", (time.perf_counter() - started) * 1000),
            )
        if 200 <= reply.status < 300:
            self._tell(call, reply)
        return reply

    def _through(self, interceptors: list[Interceptor], call: AwsCall) -> AwsReply:
        if not interceptors:
            return self._forward(call)
        first, *rest = interceptors
        return first(call, lambda inner: self._through(rest, inner))

    def _forward(self, call: AwsCall) -> AwsReply:
        environ = with_body(call)
        token = self._current.set(call)
        try:
            with contextlib.nullcontext() if call.service in UNLOCKED else self._lock_of(call.service):
                status, headers, body = run_wsgi(self._moto, environ)
        finally:
            self._current.reset(token)
        if status.startswith("500") and not _says_aws(headers):
            log.error("moto crashed service=%s action=%s", call.service, call.action)
            return refusal(call, "InternalFailure", "The embedded cloud crashed in this call; see its log.", 500)
        return AwsReply(int(status.split(" ", 1)[0]), dict(headers), body)

    def _tell(self, call: AwsCall, reply: AwsReply) -> None:
        for observer in self._observers.get((call.service, call.action), ()):
            try:
                observer(call, reply)
            except Exception:
                log.exception("observer crashed service=%s action=%s", call.service, call.action)


def _says_aws(headers: list[tuple[str, str]]) -> bool:
    """Whether a 500 is an answer that moto meant (it carries a request id), not its crash."""
    return any(name.lower().startswith("x-amz") for name, _ in headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
