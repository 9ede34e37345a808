"""SQS: the stage's four queues and their dead letters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.ports import DeadLetter
from chalicelib.cloud.refusals import asking
from chalicelib.config import Settings

DELAY_S_MAX = 900
RECEIVE_MAX = 10  # ReceiveMessage gives no more in one call


class SqsQueues:
    """`ports.Queues` on SQS."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._clients = clients
        self._settings = settings

    @property
    def _sqs(self) -> Any:
        return self._clients.get("sqs", self._settings.region)

    def wake(self, pool: str, dedup: str) -> None:
        self._send(
            "wakes", self._settings.wakes_url, {"v": 1, "pool": pool}, MessageGroupId=pool, MessageDeduplicationId=dedup
        )

    def timer(self, message: Mapping[str, Any], delay_s: int) -> None:
        if not 0 <= delay_s <= DELAY_S_MAX:
            raise ValueError(f"a timer waits 0 to {DELAY_S_MAX} s, not {delay_s}")
        self._send("timers", self._settings.timers_url, message, DelaySeconds=delay_s)

    def canary(self, at: float) -> None:
        self._send("heartbeats", self._settings.heartbeats_url, {"v": 1, "canary": {"at": at}})

    def resubmit(self, message: Mapping[str, Any]) -> None:
        self._send("submissions", self._settings.submissions_url, message)

    def dead_letters(self, limit: int = 10) -> list[DeadLetter]:
        """At most `limit` (10 at most) from each dead-letter queue, so that none hides another. They show again unless buried."""
        letters = []
        for url in self._settings.dead_letter_urls:
            with asking(f"the queue {name_of(url)} was read"):
                answer = self._sqs.receive_message(
                    QueueUrl=url,
                    MaxNumberOfMessages=min(limit, RECEIVE_MAX),
                    MessageSystemAttributeNames=["SenderId", "SentTimestamp"],
                )
            letters += [
                DeadLetter(
                    queue=short_name(url, self._settings.prefix).removesuffix("-dead"),
                    message_id=message["MessageId"],
                    body=message["Body"],
                    sent_at=int(message["Attributes"]["SentTimestamp"]) / 1000,
                    receipt=message["ReceiptHandle"],
                    url=url,
                    sender=message["Attributes"].get("SenderId", ""),
                )
                for message in answer.get("Messages", [])
            ]
        return letters

    def bury(self, letter: DeadLetter) -> None:
        with asking(f"the queue {name_of(letter.url)} was asked to delete a message"):
            self._sqs.delete_message(QueueUrl=letter.url, ReceiptHandle=letter.receipt)

    def depths(self) -> dict[str, int]:
        """Short queue name ("wakes", "wakes-dead") → messages that could be received now, as far as SQS knows."""
        settings = self._settings
        urls = (settings.submissions_url, settings.heartbeats_url, settings.wakes_url, settings.timers_url)
        depths = {}
        for url in urls + settings.dead_letter_urls:
            with asking(f"the queue {name_of(url)} was asked for its depth"):
                answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            depths[short_name(url, settings.prefix)] = int(answer["Attributes"]["ApproximateNumberOfMessages"])
        return depths

    def _send(self, queue: str, url: str, body: Mapping[str, Any], **parameters: Any) -> None:
        with asking(f"a message was sent to the {queue} queue"):
            self._sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body, separators=(",", ":")), **parameters)


def name_of(url: str) -> str:
    """The queue's own name: the last part of its URL."""
    return url.rsplit("/", 1)[-1]


def short_name(url: str, prefix: str) -> str:
    """`https://…/spillway-dev-wakes-dead.fifo` → `wakes-dead`."""
    return name_of(url).removeprefix(f"{prefix}-").removesuffix(".fifo")
