"""FIFO deduplication: SQS swallows an id for five minutes, also after its message was deleted; moto forgets it with the message.

A swallowed message is answered with the original's MessageId and SequenceNumber, as SQS does. Numbers of one queue rise.
"""

from __future__ import annotations

import itertools
import threading
from typing import Any
from weakref import WeakKeyDictionary

from localcloud.sources.hooks import Hooks

REMEMBERED_MS = 300_000


class Deduplication:
    """The ids each FIFO queue has seen in the last five minutes."""

    def __init__(self) -> None:
        self._seen: WeakKeyDictionary[Any, dict[str, tuple[float, str, str]]] = WeakKeyDictionary()
        self._numbers = itertools.count(18_880_000_000_000_000_000)
        self._lock = threading.Lock()

    def install(self, hooks: Hooks) -> None:
        """Stand before moto's `Queue.add_message`."""
        from moto.sqs.models import Queue

        def around(original: Any) -> Any:
            def add_message(queue: Queue, message: Any) -> None:
                if not queue.fifo_queue or self.is_new(queue, message):
                    original(queue, message)

            return add_message

        hooks.replace(Queue, "add_message", around)

    def is_new(self, queue: Any, message: Any) -> bool:
        """Whether a message may enter its queue; a swallowed one takes the original's id and number."""
        if message.deduplication_id is None or message.approximate_receive_count > 0:
            return True  # moved here by redrive: it was accepted once already
        now_ms = float(message.sent_timestamp)
        with self._lock:
            seen = self._seen.setdefault(queue, {})
            for known in [k for k, (until_ms, _, _) in seen.items() if until_ms <= now_ms]:
                del seen[known]
            original = seen.get(message.deduplication_id)
            if original is not None:
                _, message.id, message.sequence_number = original
                return False
            message.sequence_number = str(next(self._numbers))
            seen[message.deduplication_id] = (now_ms + REMEMBERED_MS, message.id, message.sequence_number)
            return True
