"""Two threads that look outside for the loop: into the inbox when asked to, and every few seconds whether EC2 wants the machine back."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from calendar import timegm
from time import strptime
from typing import Callable, Optional

from agent import wire
from agent.metadata import Metadata

INTERRUPTION_EVERY_S = 5.0
NOT_NOW = (
    wire.Unreachable,
    ValueError,
    KeyError,
    TypeError,
    OSError,
)  # an answer that is none: the next look, in 5 s, may have one


class InboxWatch:
    """Reads the inbox once for each request, however many came while it was reading."""

    def __init__(self, read: Callable[[], Optional[bytes]], post: Callable[[Optional[bytes], str], None]) -> None:
        self._read, self._post = read, post
        self._wanted = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def look(self) -> None:
        """Ask for a look; what it finds is posted as (document or None, problem)."""
        self._wanted.release()

    def _run(self) -> None:
        while True:
            self._wanted.acquire()
            while self._wanted.acquire(blocking=False):
                pass
            try:
                found, problem = self._read(), ""
            except Exception as error:
                found, problem = None, "the inbox cannot be read: %s" % error
            self._post(found, problem)


class InterruptionWatch:
    """Calls `interrupted(at, action)` once, when EC2 announces that it takes the spot instance away at that moment (epoch seconds); and
    before that `rebalance(at)` once, when EC2 said at that moment that it may."""

    def __init__(
        self, metadata: Metadata, interrupted: Callable[[float, str], None], rebalance: Callable[[float], None]
    ) -> None:
        self._metadata, self._interrupted, self._rebalance = metadata, interrupted, rebalance
        self._recommended = False
        self._thread = threading.Thread(target=self._run, name="interruption", daemon=True)

    def start(self) -> None:
        """Start."""
        self._thread.start()

    def _run(self) -> None:
        while not self._look():
            time.sleep(INTERRUPTION_EVERY_S)

    def _look(self) -> bool:
        """Whether there is nothing more to wait for."""
        with contextlib.suppress(*NOT_NOW):
            text = self._metadata.get("meta-data/spot/instance-action", tries=1)
            if text:
                document = json.loads(text)
                self._interrupted(_moment(document["time"]), str(document["action"]))
                return True
        with contextlib.suppress(*NOT_NOW):
            text = (
                None if self._recommended else self._metadata.get("meta-data/events/recommendations/rebalance", tries=1)
            )
            if text:
                self._rebalance(_moment(json.loads(text)["noticeTime"]))
                self._recommended = True
        return False


def _moment(text: str) -> float:
    return float(timegm(strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
