"""What lies outside of the stage, in memory: every message, object and call is kept, and a webhook answers what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.cloud.memory_calls import Calls


@dataclass(frozen=True, slots=True)
class Post:
    """A call of a webhook."""

    at: float
    url: str
    body: Any
    headers: Mapping[str, str]


@dataclass(slots=True)
class MemoryOutside:
    """The fake behind `ports.Outside`. `inside`: the stage's own bucket, from which it copies."""

    clock: Callable[[], float]
    calls: Calls
    inside: Mapping[str, bytes]
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    posts: list[Post] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # of the coming calls of webhooks; then 200
    meanwhile: Callable[[], None] = lambda: None  # what happens while a webhook is called

    def send(self, queue_url: str, body: Mapping[str, Any]) -> None:
        with self.calls.call("sqs.SendMessage", queue=queue_url, body=body):
            self.sent.append((queue_url, json.loads(json.dumps(body))))

    def put(self, region: str, bucket: str, key: str, body: bytes, content_type: str) -> None:
        with self.calls.call("s3.PutObject", bucket=bucket, key=key, bytes=len(body)):
            self.objects[bucket, key] = body

    def copy(self, key: str, region: str, bucket: str, to_key: str) -> bool:
        with self.calls.call("s3.CopyObject", bucket=bucket, key=to_key):
            if key not in self.inside:
                return False
            self.objects[bucket, to_key] = self.inside[key]
            return True

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        with self.calls.call("http.Post", url=url):
            self.meanwhile()
            self.posts.append(Post(self.clock(), url, json.loads(body), dict(headers)))
            return self.answers.pop(0) if self.answers else 200
