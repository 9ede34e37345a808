"""SNS: the notices topic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.refusals import asking

SUBJECT_CHARS_MAX = 99  # of an e-mail; SNS wants fewer than 100, printable ASCII, no line breaks


class SnsNotices:
    """`ports.Notices` on SNS."""

    def __init__(self, clients: Clients, region: str, topic_arn: str) -> None:
        self._clients = clients
        self._region = region
        self._topic_arn = topic_arn

    def publish(self, notice: Mapping[str, Any]) -> None:
        with asking("SNS was asked to publish a notice"):
            self._clients.get("sns", self._region).publish(
                TopicArn=self._topic_arn,
                Subject=mail_subject(notice),
                Message=json.dumps(notice, separators=(",", ":")),
                MessageAttributes=attributes(notice),
            )


def attributes(notice: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The string fields again, for filter policies. SNS refuses empty ones."""
    return {
        name: {"DataType": "String", "StringValue": value}
        for name, value in notice.items()
        if isinstance(value, str) and value
    }


def mail_subject(notice: Mapping[str, Any]) -> str:
    """What the mailing list sees first: severity, pool and the reason's beginning."""
    words = f"Spillway {notice.get('severity', 'info')} ({notice.get('pool', '-')}): {notice.get('reason', '')}"
    printable = "".join(c if " " <= c <= "~" else "?" for c in " ".join(words.split()))
    return printable[:SUBJECT_CHARS_MAX]
