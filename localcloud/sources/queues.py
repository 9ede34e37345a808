"""moto's SQS queues, made fit for many threads, and able to say when something happened to them.

Three changes while installed. Every operation on a queue holds that queue's own lock: moto rebuilds the list of
messages on each delete, and a message sent meanwhile would be lost. A queue forgets the mappings that moto records on it,
because it would invoke them in the sender's thread. And whoever waits for a queue is told when a message came or became visible.
"""

import time
from collections.abc import Callable
from typing import Any

from moto.backends import get_backend
from moto.sqs.models import Message, Queue, SQSBackend

from localcloud.identity import ACCOUNT_ID
from localcloud.sources.hooks import Hooks

Listener = Callable[[str], None]
RECEIVE_STEP_S = 0.05


def install(hooks: Hooks, changed: Listener) -> None:
    """Install the three changes; `changed(queue_arn)` must not block."""
    hooks.replace(Queue, "lambda_event_source_mappings", lambda _: property(lambda self: {}, lambda self, value: None))
    hooks.replace(Queue, "add_message", lambda original: _locked_and_told(original, changed))
    hooks.replace(Queue, "delete_message", _locked)
    hooks.replace(SQSBackend, "receive_message", _receive)
    hooks.replace(SQSBackend, "purge_queue", _locked_by_name)
    hooks.replace(SQSBackend, "change_message_visibility", lambda original: _visibility(original, changed))


def find(queue_arn: str) -> Queue | None:
    """The queue behind an ARN, None when there is none."""
    _, _, _, region, _, name = queue_arn.split(":", 5)
    return get_backend("sqs")[ACCOUNT_ID][region].queues.get(name)


def take(queue: Queue, count: int) -> list[Message]:
    """Receive up to `count` visible messages, as a poller would: they become invisible, and too often received ones move on."""
    backend = get_backend("sqs")[queue.account_id][queue.region]
    timeout_s = int(vars(queue)["visibility_timeout"])
    received: list[Message] = backend.receive_message(queue.name, count, 0, timeout_s, ["All"])
    return received


def delete(queue: Queue, receipt_handles: list[str]) -> None:
    """Delete messages; a handle that is not known any more is none of our business."""
    backend = get_backend("sqs")[queue.account_id][queue.region]
    backend.delete_message_batch(queue.name, [{"Id": "0", "ReceiptHandle": handle} for handle in receipt_handles])


def next_visible_in(queue: Queue) -> float | None:
    """Seconds until the next delayed or invisible message can be received, None when there is no such message."""
    now_ms = time.time() * 1000
    with queue._messages_lock:
        times = [max(message.visible_at, message.delayed_until) for message in queue._messages]
    future = [at for at in times if at >= now_ms]
    return (min(future) - now_ms) / 1000 + 0.001 if future else None


def _locked(original: Any) -> Any:
    def call(queue: Queue, *args: Any, **kwargs: Any) -> Any:
        with queue._messages_lock:
            return original(queue, *args, **kwargs)

    return call


def _locked_and_told(original: Any, changed: Listener) -> Any:
    def call(queue: Queue, message: Message) -> None:
        with queue._messages_lock:
            original(queue, message)
        changed(queue.queue_arn)

    return call


def _locked_by_name(original: Any) -> Any:
    def call(backend: SQSBackend, queue_name: str, *args: Any, **kwargs: Any) -> Any:
        with backend.get_queue(queue_name)._messages_lock:
            return original(backend, queue_name, *args, **kwargs)

    return call


def _visibility(original: Any, changed: Listener) -> Any:
    locked = _locked_by_name(original)

    def call(backend: SQSBackend, queue_name: str, *args: Any, **kwargs: Any) -> Any:
        answer = locked(backend, queue_name, *args, **kwargs)
        changed(backend.get_queue(queue_name).queue_arn)
        return answer

    return call


def _receive(original: Any) -> Any:
    locked = _locked_by_name(original)

    def call(
        backend: SQSBackend,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> Any:
        # moto would wait inside, with the lock held
        deadline = time.monotonic() + wait_seconds_timeout
        while True:
            received = locked(backend, queue_name, count, 0, visibility_timeout, message_attribute_names)
            left = deadline - time.monotonic()
            if received or left <= 0:
                return received
            condition = backend.get_queue(queue_name)._messages_lock
            with condition:
                condition.wait(min(left, RECEIVE_STEP_S))

    return call
