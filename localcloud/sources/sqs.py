"""SQS event source mappings: messages become invocations, as Lambda's pollers do it.

One thread for each mapping waits until something happened to its queue (a send, an expiry that it computed, an invocation
that ended), takes messages while the function has room, and starts invocations without waiting for them. Messages of an
invocation that returned are deleted; all others come back by themselves when their visibility timeout ends, and move to the
dead-letter queue when they were received too often. FIFO groups stay in order because a group with a message in flight
gives no other.
"""

import base64
import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any

from moto.sqs.models import Message, Queue

from localcloud.front import Front
from localcloud.lambdas.config import backends
from localcloud.lambdas.functions import Functions
from localcloud.lambdas.invocation import Invocation
from localcloud.sources import queues
from localcloud.sources.hooks import Hooks

SCAN_S = 0.5
PAUSE_MAX_S = 1.0
FULL_PAUSE_S = 0.05  # how soon to look again when the function has no room
EVENT_MAX_BYTES = 6_000_000  # a batch ends here: an invocation takes 6 MiB

log = logging.getLogger("localcloud.sqs")


@dataclass
class MappingStats:
    """What one mapping did."""

    queue: str
    function: str
    polls: int = 0
    invocations: int = 0
    messages: int = 0
    failures: int = 0  # invocations whose messages were not all deleted


class SqsSources:
    """Runs every SQS mapping that exists in moto, from `start` to `stop`."""

    def __init__(self, functions: Functions, front: Front) -> None:
        self._functions = functions
        self._front = front
        self._hooks = Hooks()
        self._mappings: dict[str, SqsMapping] = {}
        self._by_queue: dict[str, list[SqsMapping]] = {}
        self._scan_now = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._scan, daemon=True, name="sqs-mappings")

    def start(self) -> None:
        queues.install(self._hooks, self.changed)
        for action in ("CreateEventSourceMapping", "UpdateEventSourceMapping", "DeleteEventSourceMapping"):
            self._front.observe("lambda", action, lambda call, reply: self.rescan())
        self._thread.start()

    def stop(self) -> None:
        """Take no more messages; what is in flight comes back by its visibility timeout."""
        self._stopping = True
        self._scan_now.set()
        if self._thread.is_alive():
            self._thread.join(5)
        for mapping in self._mappings.values():
            mapping.stop()
        self._hooks.restore()

    def rescan(self) -> None:
        """Mappings were created, changed or deleted: look at once instead of within half a second."""
        self._scan_now.set()

    def changed(self, queue_arn: str) -> None:
        """Something happened to a queue."""
        for mapping in self._by_queue.get(queue_arn, ()):
            mapping.poke()

    def stats(self) -> list[MappingStats]:
        return [mapping.stats for mapping in list(self._mappings.values())]

    def _scan(self) -> None:
        while not self._stopping:
            self._scan_now.clear()
            try:
                self._match()
            except RuntimeError:
                log.debug("moto's mappings changed while they were read; again")
            self._scan_now.wait(SCAN_S)

    def _match(self) -> None:
        """Run exactly the mappings that moto has."""
        present: dict[str, Any] = {}
        for backend in backends():
            present |= {u: m for u, m in list(backend._event_source_mappings.items()) if ":sqs:" in m.event_source_arn}
        for uuid in self._mappings.keys() - present.keys():
            self._mappings.pop(uuid).stop()
        for uuid in present.keys() - self._mappings.keys():
            self._mappings[uuid] = SqsMapping(present[uuid], self._functions)
        by_queue: dict[str, list[SqsMapping]] = {}
        for mapping in self._mappings.values():
            by_queue.setdefault(mapping.queue_arn, []).append(mapping)
        self._by_queue = by_queue
        for mapping in self._mappings.values():
            mapping.poke()


class SqsMapping:
    """One mapping and its thread. `settings` is moto's live record, so updates count from the next round on."""

    def __init__(self, settings: Any, functions: Functions) -> None:
        self.queue_arn: str = settings.event_source_arn
        self.stats = MappingStats(self.queue_arn.rsplit(":", 1)[-1], settings.function_arn.split(":")[6])
        self._settings = settings
        self._functions = functions
        self._condition = threading.Condition()
        self._poked = True
        self._stopping = False
        self._in_flight = 0
        self._held: list[Message] = []
        self._held_until = 0.0  # monotonic: when the batching window of what is held ends
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"sqs-{self.stats.queue}")
        self._thread.start()

    def poke(self) -> None:
        """Look at the queue now."""
        with self._condition:
            self._poked = True
            self._condition.notify()

    def stop(self) -> None:
        self._stopping = True
        self.poke()
        self._thread.join(5)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopping:
            with self._condition:
                if not self._poked and pause > 0:
                    self._condition.wait(pause)
                self._poked = False
            queue = queues.find(self.queue_arn)
            pause = PAUSE_MAX_S
            if queue is not None and self._settings.enabled and not self._stopping:
                try:
                    pause = self._round(queue)
                except Exception:
                    log.exception("a round of an SQS mapping failed, and the next one comes queue=%s", self.stats.queue)

    def _round(self, queue: Queue) -> float:
        """Start what can be started; how many seconds may pass before it is worth looking again."""
        while True:
            if self._room() <= 0:
                return FULL_PAUSE_S
            batch = self._gather(queue)
            if not batch:
                break
            for part in _parts(batch):
                self._begin(queue, part)
        pauses = [PAUSE_MAX_S]
        if self._held:
            pauses.append(self._held_until - time.monotonic())
        if (due := queues.next_visible_in(queue)) is not None:
            pauses.append(due)
        return max(0.001, min(pauses))

    def _room(self) -> int:
        most = int((self._settings.scaling_config or {}).get("MaximumConcurrency", 1000))
        return min(
            most - self._in_flight, self._functions.free_slots(self._settings.function_arn, self._settings.region)
        )

    def _gather(self, queue: Queue) -> list[Message]:
        """The next batch, empty while its window is open or nothing is there."""
        window_s = self._settings.max_batch_window or 0
        self.stats.polls += 1
        received = queues.take(queue, self._settings.batch_size - len(self._held))
        if received and not self._held:
            self._held_until = time.monotonic() + window_s
        self._held += received
        if len(self._held) >= self._settings.batch_size or time.monotonic() >= self._held_until:
            batch, self._held = self._held, []
            return batch
        return []

    def _begin(self, queue: Queue, batch: list[Message]) -> None:
        event = {"Records": [record(message, self.queue_arn) for message in batch]}
        with self._condition:
            self._in_flight += 1
        self.stats.invocations += 1
        self.stats.messages += len(batch)

        def done(invocation: Invocation) -> None:
            self._finish(queue, batch, invocation)

        settings = self._settings
        self._functions.begin(settings.function_arn, json.dumps(event).encode(), done, region=settings.region)

    def _finish(self, queue: Queue, batch: list[Message], invocation: Invocation) -> None:
        done = batch if invocation.ok else []
        if done and "ReportBatchItemFailures" in (self._settings.function_response_types or []):
            failed = failed_items(invocation.payload, {message.id for message in batch})
            done = [message for message in batch if message.id not in failed]
        queues.delete(queue, [message.receipt_handle for message in done if message.receipt_handle])
        if len(done) < len(batch):
            self.stats.failures += 1
        with self._condition:
            self._in_flight -= 1
        self.poke()


def failed_items(payload: bytes, message_ids: set[str]) -> set[str]:
    """The messages that a partial batch response gives back; all of them when it is malformed, as Lambda decides it."""
    try:
        answer = json.loads(payload or b"null")
        items = {item["itemIdentifier"] for item in (answer or {}).get("batchItemFailures") or []}
    except (ValueError, KeyError, TypeError, AttributeError):
        return message_ids
    return items if items <= message_ids else message_ids


def record(message: Message, queue_arn: str) -> dict[str, Any]:
    """A message as a function sees it."""
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
        "MessageGroupId": message.group_id,
        "MessageDeduplicationId": message.deduplication_id,
        "SequenceNumber": message.sequence_number,
        "AWSTraceHeader": message.system_attributes.get("AWSTraceHeader", {}).get("StringValue"),
    }
    found = {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "messageAttributes": {name: _attribute(value) for name, value in message.message_attributes.items()},
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
    if message.message_attributes:
        found["md5OfMessageAttributes"] = message.attribute_md5
    return found


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    shaped: dict[str, Any] = {"stringListValues": [], "binaryListValues": [], "dataType": value["DataType"]}
    if value.get("StringValue") is not None:
        shaped["stringValue"] = value["StringValue"]
    if (binary := value.get("BinaryValue")) is not None:
        shaped["binaryValue"] = base64.b64encode(binary).decode() if isinstance(binary, bytes) else binary
    return shaped


def _parts(batch: list[Message]) -> list[list[Message]]:
    """The batch cut so that each part fits into one invocation."""
    parts: list[list[Message]] = [[]]
    size = 0
    for message in batch:
        bytes_here = len(message.body.encode()) + 1000
        if parts[-1] and size + bytes_here > EVENT_MAX_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(message)
        size += bytes_here
    return parts
