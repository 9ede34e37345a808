"""Pings leave through one thread, in order, each until it is delivered.

Whatever waits when the thread is free goes out as one message (at most 200 KiB), so a burst of short attempts costs few
messages and a lone ping costs no delay. A failed send is tried again with the same `seq` for as long as the agent lives: SQS
may then hold the message twice, which receivers tolerate; losing one they would not. Only the newest `alive` is kept, and of an attempt's
`progress` what says more: so what waits while nothing can be sent is bounded by what runs.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from typing import Any, Callable, Optional

MESSAGE_MAX_BYTES = 200 * 1024
ENVELOPE_BYTES = 1024
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 20.0


def _outdated(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether the older ping says nothing that the newer one does not say."""
    same = all(old.get(name) == new.get(name) for name in ("kind", "job", "attempt"))
    return same and old.keys() <= new.keys()


class Pings:
    """The outbox and its thread. `send` puts a text on the heartbeat queue or raises."""

    def __init__(self, pool: str, host: str, send: Callable[[str], None], delivered: Callable[[dict[str, Any]], None]):
        self._pool, self._host = pool, host
        self._send, self._delivered = send, delivered
        self._seq = 0
        self._boot = os.urandom(8).hex()
        self._waiting: list[tuple[dict[str, Any], str]] = []  # with its JSON: what has none fails where it is posted
        self._sending = 0
        self._changed = threading.Condition()
        self._closing = False
        self.trouble: Optional[str] = None  # why the last send failed, None after one that did not
        self._thread = threading.Thread(target=self._run, name="pings", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def post(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Queue a ping from any thread; returns it as it will be sent."""
        ping = {"kind": kind, "at": round(time.time(), 6), **fields}
        self.post_again(ping)
        return ping

    def post_again(self, ping: dict[str, Any]) -> None:
        """Queue a ping that was made earlier (by a process that did not live to deliver it)."""
        text = json.dumps(ping, separators=(",", ":"), allow_nan=False)
        with self._changed:
            if ping["kind"] in ("alive", "progress", "installs"):
                self._waiting = [one for one in self._waiting if not _outdated(one[0], ping)]
            self._waiting.append((ping, text))
            self._changed.notify_all()

    def unsent(self) -> int:
        """How many pings are not delivered yet."""
        with self._changed:
            return len(self._waiting) + self._sending

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is delivered; False when time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._sending, timeout_s)

    def close(self) -> None:
        """Stop sending, delivered or not."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _take(self) -> list[tuple[dict[str, Any], str]]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
            room = MESSAGE_MAX_BYTES - ENVELOPE_BYTES
            count = 0
            for _, text in self._waiting:
                if count and len(text) >= room:
                    break
                room -= len(text) + 1
                count += 1
            taken = self._waiting[:count]
            del self._waiting[:count]
            self._sending = len(taken)
            return taken

    def _run(self) -> None:
        while not self._closing:
            batch = self._take()
            if batch:
                self._deliver(batch)

    def _deliver(self, batch: list[tuple[dict[str, Any], str]]) -> None:
        self._seq += 1
        message = {"v": 1, "pool": self._pool, "host": self._host, "boot": self._boot, "seq": self._seq}
        delay_s = RETRY_FIRST_S
        while not self._closing:
            message["sent_at"] = round(time.time(), 6)
            envelope = json.dumps(message, separators=(",", ":"))
            try:
                self._send('%s,"pings":[%s]}' % (envelope[:-1], ",".join(text for _, text in batch)))
                break
            except Exception as error:  # whatever it was: a ping is never given up
                self.trouble = "pings cannot be sent: %s" % error
            with self._changed:
                self._changed.wait_for(lambda: self._closing, delay_s * (0.5 + random.random() / 2))
            delay_s = min(RETRY_MAX_S, delay_s * 2)
        else:
            return
        self.trouble = None
        for ping, _ in batch:
            self._delivered(ping)
        with self._changed:
            self._sending = 0
            self._changed.notify_all()
