"""One invocation of a function: what was asked, and how it ended."""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from localcloud.lambdas.runtime_api import error_document

log = logging.getLogger("localcloud.functions")


@dataclass(frozen=True)
class Invocation:
    """How an invocation ended, in the words of Lambda's Invoke API."""

    status: int  # 200 it ran, also when it failed; 202 accepted (asynchronous); 404 no such function; 413 too big; 429 throttled
    payload: bytes  # the function's answer, or the error document
    error: str | None = None  # the value of X-Amz-Function-Error ("Unhandled"), None when the function returned
    duration_ms: float = 0.0
    cold_start: bool = False
    request_id: str = ""

    @property
    def ok(self) -> bool:
        """The function ran and returned."""
        return self.status == 200 and self.error is None


class Pending:
    """An invocation on its way. `on_done` is called once, with the outcome, in the thread that learns of it."""

    def __init__(self, payload: bytes, on_done: Callable[[Invocation], None]) -> None:
        self.request_id = str(uuid.uuid4())
        self.payload = payload
        self.submitted_at = time.monotonic()
        self.cold_start = False
        self.started_at: float | None = None  # monotonic; None: no worker has taken it yet
        self.deadline: float | None = None  # monotonic
        self._on_done: Callable[[Invocation], None] | None = on_done
        self._lock = threading.Lock()

    def start(self, timeout_s: float) -> None:
        self.started_at = time.monotonic()
        self.deadline = self.started_at + timeout_s

    def finish(self, payload: bytes, error: str | None = None, status: int = 200) -> None:
        """Settle it; later calls change nothing."""
        with self._lock:
            on_done, self._on_done = self._on_done, None
        if on_done is None:
            return
        try:
            on_done(Invocation(status, payload, error, self.duration_ms, self.cold_start, self.request_id))
        except Exception:  # the caller's fault, in a thread that serves a worker: it must go on
            log.exception("who invoked a function failed to take its answer request_id=%s", self.request_id)

    def fail(self, kind: str, message: str) -> None:
        """Settle it as failed by the platform, with the error document that Lambda would answer."""
        self.finish(error_document(kind, f"RequestId: {self.request_id} Error: {message}"), "Unhandled")

    @property
    def duration_ms(self) -> float:
        return 0.0 if self.started_at is None else (time.monotonic() - self.started_at) * 1000
