"""The whole cloud in memory, for tests and the simulator: same promises as boto3's, held by the same contract suite.

clock = [1_000.0]
cloud = memory_cloud(lambda: clock[0])
cloud.compute.limit(offering, 3)                       # at most three live at once
cloud.compute.refuse(offering, "VcpuLimitExceeded")    # until `allow`
cloud.calls.fail("ec2.RunInstances", CloudUnavailable("…"), answer_lost=True)
cloud.queues.wakes.receive(clock[0])                   # what would be delivered to a function
cloud.calls.count("ec2.RunInstances")
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from chalicelib.cloud.memory_calls import Call, Calls
from chalicelib.cloud.memory_compute import Machine, MemoryCompute, Ring
from chalicelib.cloud.memory_facts import MemoryFacts
from chalicelib.cloud.memory_groups import MemoryGroups
from chalicelib.cloud.memory_outside import MemoryOutside
from chalicelib.cloud.memory_queues import MemoryQueue, MemoryQueues, Message
from chalicelib.cloud.ports import Cloud
from chalicelib.core.secrets import Secret

__all__ = [
    "Call",
    "Calls",
    "Machine",
    "MemoryBlobs",
    "MemoryCloud",
    "MemoryCompute",
    "MemoryFacts",
    "MemoryGroups",
    "MemoryNotices",
    "MemoryOutside",
    "MemoryQueue",
    "MemoryQueues",
    "MemorySecrets",
    "Message",
    "Ring",
    "memory_cloud",
]


@dataclass(slots=True)
class MemoryBlobs:
    """The fake behind `ports.Blobs`. Its signed URLs say `memory://`; `fetch` and `send` do what S3 would do with them."""

    clock: Callable[[], float]
    calls: Calls
    objects: dict[str, bytes] = field(default_factory=dict)
    content_types: dict[str, str] = field(default_factory=dict)

    def put(self, key: str, body: bytes, content_type: str = "application/json") -> None:
        with self.calls.call("s3.PutObject", key=key, bytes=len(body)):
            self.objects[key] = body
            self.content_types[key] = content_type

    def get(self, key: str, start: int = 0) -> bytes | None:
        with self.calls.call("s3.GetObject", key=key, start=start):
            body = self.objects.get(key)
            return None if body is None else body[start:]

    def delete(self, key: str) -> None:
        with self.calls.call("s3.DeleteObject", key=key):
            self.objects.pop(key, None)

    def exists(self, key: str) -> bool:
        with self.calls.call("s3.ListObjectsV2", prefix=key, after=""):
            return key in self.objects

    def list(self, prefix: str, after: str = "", limit: int = 1000) -> list[tuple[str, int]]:
        with self.calls.call("s3.ListObjectsV2", prefix=prefix, after=after):
            keys = sorted((k for k in self.objects if k.startswith(prefix) and k > after), key=str.encode)
            return [(key, len(self.objects[key])) for key in keys[:limit]]

    def get_url(self, key: str, expires_s: int, filename: str | None = None) -> str:
        return self._sign("get", key, expires_s, {"filename": filename} if filename else {})

    def object_url(self, region: str, bucket: str, key: str, expires_s: int) -> str:
        return self._sign("get", f"elsewhere/{bucket}/{key}", expires_s, {})

    def put_url(self, key: str, sha256_hex: str, expires_s: int) -> tuple[str, Mapping[str, str]]:
        checksum = base64.b64encode(bytes.fromhex(sha256_hex)).decode()
        return self._sign("put", key, expires_s, {"sha256": checksum}), {
            "content-type": "application/octet-stream",
            "x-amz-checksum-sha256": checksum,
        }

    def fetch(self, url: str) -> bytes | None:
        """GET a signed URL; PermissionError once it has expired."""
        key, _ = self._open(url, "get")
        return self.objects.get(key)

    def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """PUT to a signed URL; PermissionError when expired, when a header is missing, or when the body is not what was signed."""
        key, query = self._open(url, "put")
        checksum = query["sha256"]
        if headers.get("x-amz-checksum-sha256") != checksum:
            raise PermissionError("the signed checksum header is missing or another")
        if base64.b64encode(hashlib.sha256(body).digest()).decode() != checksum:
            raise PermissionError("the body is not what was signed")
        self.objects[key] = body

    def _sign(self, method: str, key: str, expires_s: int, more: Mapping[str, str]) -> str:
        query = urlencode({"method": method, "expires": repr(self.clock() + expires_s), **more})
        return f"memory://bucket/{quote(key)}?{query}"

    def _open(self, url: str, method: str) -> tuple[str, dict[str, str]]:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if query["method"] != method:
            raise PermissionError(f"this URL was signed for {query['method']}, not {method}")
        if self.clock() > float(query["expires"]):
            raise PermissionError("the signed URL has expired")
        return unquote(parts.path.removeprefix("/")), query


@dataclass(slots=True)
class MemorySecrets:
    """The fake behind `ports.Secrets`: `values` by whole name, None for one that is there and refused."""

    calls: Calls
    values: dict[str, str | None] = field(default_factory=dict)

    def read(self, names: Sequence[str]) -> Mapping[str, Secret]:
        found: dict[str, Secret] = {}
        for service, operation in (
            ("ssm:", "ssm.GetParameters"),
            ("secretsmanager:", "secretsmanager.BatchGetSecretValue"),
        ):
            wanted = [name for name in names if name.startswith(service)]
            if wanted:
                with self.calls.call(operation, names=wanted):
                    found |= {name: self._one(name) for name in wanted}
        return found

    def _one(self, name: str) -> Secret:
        if name not in self.values:
            return Secret(fault="there is none of this name")
        value = self.values[name]
        return Secret(fault="AWS refuses it (AccessDeniedException: no)") if value is None else Secret(value)


@dataclass(slots=True)
class MemoryNotices:
    """The fake behind `ports.Notices`."""

    calls: Calls
    published: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, notice: Mapping[str, Any]) -> None:
        with self.calls.call("sns.Publish", notice=notice):
            self.published.append(dict(notice))


@dataclass(frozen=True, slots=True)
class MemoryCloud(Cloud):
    """`ports.Cloud` whose parts can be looked into. `calls` has every request made, in order."""

    compute: MemoryCompute
    facts: MemoryFacts
    groups: MemoryGroups
    blobs: MemoryBlobs
    secrets: MemorySecrets
    queues: MemoryQueues
    notices: MemoryNotices
    outside: MemoryOutside
    calls: Calls


def memory_cloud(clock: Callable[[], float] = time.time, *, stage: str = "test") -> MemoryCloud:
    """An empty AWS of its own. `clock` gives epoch seconds."""
    calls = Calls(clock)
    compute = MemoryCompute(clock, calls, stage)
    blobs = MemoryBlobs(clock, calls)
    return MemoryCloud(
        compute=compute,
        facts=MemoryFacts(calls, stage),
        groups=MemoryGroups(compute),
        blobs=blobs,
        secrets=MemorySecrets(calls),
        queues=MemoryQueues(clock, calls),
        notices=MemoryNotices(calls),
        outside=MemoryOutside(clock, calls, blobs.objects),
        calls=calls,
    )
