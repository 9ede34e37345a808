"""SQS in memory: one queue class for standard and FIFO, and the stage's four queues with their dead letters.

FIFO as SQS does it: an id is swallowed for five minutes after its first message was sent, *even if that message is long deleted*;
ids count per group (the wakes queue's scope); a message in flight holds back its whole group until it is deleted or shows again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.cloud.memory_calls import Calls
from chalicelib.cloud.ports import DeadLetter

DEDUPLICATION_S = 300.0
DELAY_S_MAX = 900


@dataclass(slots=True)
class Message:
    """One message. `due_at`: when it may (next) be received; `receipt` changes with each receive."""

    id: str
    body: str
    sent_at: float
    due_at: float
    group: str = ""
    sender: str = ""
    receives: int = 0
    receipt: str = ""


@dataclass(slots=True)
class MemoryQueue:
    """One queue. Time is passed in, so a simulator can ask `next_at` and move its clock there."""

    name: str
    fifo: bool = False
    visibility_s: float = 180.0
    receives_max: int = 5
    dead: MemoryQueue | None = None
    messages: list[Message] = field(default_factory=list)
    sent: int = 0
    swallowed: int = 0
    _seen: dict[tuple[str, str], float] = field(default_factory=dict)

    def send(
        self, body: str, now: float, *, delay_s: float = 0, group: str = "", dedup: str = "", sender: str = ""
    ) -> bool:
        """False: swallowed as a duplicate (SQS answers as if it were not)."""
        if self.fifo:
            first = self._seen.get((group, dedup))
            if first is not None and now - first < DEDUPLICATION_S:
                self.swallowed += 1
                return False
            self._seen[group, dedup] = now
        self.sent += 1
        self.messages.append(Message(f"{self.name}-{self.sent}", body, now, now + delay_s, group, sender))
        return True

    def receive(self, now: float, limit: int = 10) -> list[Message]:
        """Messages that are due, oldest first; they show again after the visibility timeout unless deleted."""
        self._redrive(now)
        taken: list[Message] = []
        for message in self._due(now)[:limit]:
            message.receives += 1
            message.receipt = f"{message.id}/{message.receives}"
            message.due_at = now + self.visibility_s
            taken.append(message)
        return taken

    def delete(self, receipt: str) -> None:
        """Acknowledge; a receipt that is gone is already so."""
        self.messages = [m for m in self.messages if m.receipt != receipt]

    def release(self, message: Message, now: float) -> None:
        """Show it again at once, as when the function failed and set the visibility to 0."""
        message.due_at = now

    def waiting(self, now: float) -> int:
        """How many could be received (what SQS calls visible)."""
        return sum(message.due_at <= now for message in self.messages)

    def next_at(self) -> float | None:
        """When the next message shows, or None."""
        return min((message.due_at for message in self.messages), default=None)

    def _due(self, now: float) -> list[Message]:
        if not self.fifo:
            return [m for m in sorted(self.messages, key=lambda m: m.due_at) if m.due_at <= now]
        due, held = [], set()
        for message in self.messages:
            if message.group in held:
                continue
            if message.due_at <= now:
                due.append(message)
            else:
                held.add(message.group)
        return due

    def _redrive(self, now: float) -> None:
        """What was received too often and shows again goes to the dead letters."""
        if self.dead is None:
            return
        for message in [m for m in self.messages if m.due_at <= now and m.receives >= self.receives_max]:
            self.messages.remove(message)
            message.due_at, message.receives, message.receipt = now, 0, ""
            self.dead.messages.append(message)


def _with_dead(name: str, *, fifo: bool = False, visibility_s: float = 180.0, receives_max: int = 5) -> MemoryQueue:
    return MemoryQueue(name, fifo, visibility_s, receives_max, MemoryQueue(f"{name}-dead", fifo))


class MemoryQueues:
    """The fake behind `ports.Queues`. Its queues are public: what AWS would deliver to functions, tests and the simulator receive."""

    def __init__(self, clock: Callable[[], float], calls: Calls) -> None:
        self._clock = clock
        self._calls = calls
        self.submissions = _with_dead("submissions")
        self.heartbeats = _with_dead("heartbeats")
        self.wakes = _with_dead("wakes", fifo=True, visibility_s=35.0, receives_max=3)
        self.timers = _with_dead("timers")

    @property
    def all(self) -> tuple[MemoryQueue, ...]:
        """The four queues, then their dead letters."""
        queues = (self.submissions, self.heartbeats, self.wakes, self.timers)
        return queues + tuple(queue.dead for queue in queues if queue.dead)

    def wake(self, pool: str, dedup: str) -> None:
        with self._calls.call("sqs.SendMessage", queue="wakes", pool=pool, dedup=dedup):
            self.wakes.send(json.dumps({"v": 1, "pool": pool}), self._clock(), group=pool, dedup=dedup)

    def timer(self, message: Mapping[str, Any], delay_s: int) -> None:
        if not 0 <= delay_s <= DELAY_S_MAX:
            raise ValueError(f"a timer waits 0 to {DELAY_S_MAX} s, not {delay_s}")
        with self._calls.call("sqs.SendMessage", queue="timers", message=message, delay_s=delay_s):
            self.timers.send(json.dumps(dict(message)), self._clock(), delay_s=delay_s)

    def canary(self, at: float) -> None:
        with self._calls.call("sqs.SendMessage", queue="heartbeats", at=at):
            self.heartbeats.send(json.dumps({"v": 1, "canary": {"at": at}}), self._clock(), sender="control")

    def resubmit(self, message: Mapping[str, Any]) -> None:
        with self._calls.call("sqs.SendMessage", queue="submissions", message=message):
            self.submissions.send(json.dumps(dict(message)), self._clock(), sender="control")

    def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        letters = []
        for queue in self.all:
            dead = queue.dead
            if dead is None:
                continue
            with self._calls.call("sqs.ReceiveMessage", queue=dead.name):
                letters += [
                    DeadLetter(
                        queue=queue.name,
                        message_id=message.id,
                        body=message.body,
                        sent_at=message.sent_at,
                        receipt=message.receipt,
                        url=f"memory://{dead.name}",
                        sender=message.sender,
                    )
                    for message in dead.receive(self._clock(), limit)
                ]
        return letters

    def bury(self, letter: DeadLetter) -> None:
        with self._calls.call("sqs.DeleteMessage", queue=f"{letter.queue}-dead"):
            for queue in self.all:
                if letter.url == f"memory://{queue.name}":
                    queue.delete(letter.receipt)

    def depths(self) -> dict[str, int]:
        depths = {}
        for queue in self.all:
            with self._calls.call("sqs.GetQueueAttributes", queue=queue.name):
                depths[queue.name] = queue.waiting(self._clock())
        return depths
