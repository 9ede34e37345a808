"""The six AWS calls that a host is allowed to make, signed with its role's credentials."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from typing import Any, Callable, Mapping, NamedTuple, Optional
from urllib.parse import quote, urlsplit

from agent import wire
from agent.clock import clock_off, date_of
from agent.sigv4 import Credentials, sign

S3_TIMEOUT_S = 60.0
THROTTLED = re.compile(
    rb"Throttl|ProvisionedThroughputExceeded|RequestLimitExceeded|TooManyRequests|SlowDown|ExpiredToken"
)

SKEWED = re.compile(rb"TooSkewed|Signature expired|not yet current")
SKEW_TOLERATED_S = 240.0  # AWS refuses signatures that are more than five minutes off
CLOCKS_AGREE = 3  # one odd answer says nothing about our clock


class Refused(Exception):
    """AWS answered, and said no. `status` and `code` are AWS's own; the message is a sentence."""

    def __init__(self, what: str, status: int, body: bytes) -> None:
        found = re.search(rb'(?:<Code>|"__type"\s*:\s*")([\w.#]+)', body)
        self.status = status
        self.code = found.group(1).decode().rpartition("#")[2] if found else str(status)
        detail = body[:300].decode("utf-8", "replace")
        super().__init__("%s was refused with %d %s: %s" % (what, status, self.code, detail))


class ClaimAnswer(NamedTuple):
    """`won`, or who holds it: "agent", "control", or "" when AWS did not say. `own`: by this very call, whose first answer was lost."""

    won: bool
    held_by: str
    own: bool


class Aws:
    """Calls from any thread. `heard` is called after every answer: it proves that AWS can be reached."""

    def __init__(
        self,
        credentials: Callable[[], Credentials],
        region: str,
        bucket: str = "",
        heard: Callable[[], None] = lambda: None,
        endpoint: Optional[str] = None,
    ) -> None:
        self._credentials = credentials
        self._region = region
        self._bucket = bucket
        self._heard = heard
        self._endpoint = (endpoint or os.environ.get("AWS_ENDPOINT_URL") or "").rstrip("/")
        self._clocks: tuple[float, ...] = ()

    @property
    def clock_off_s(self) -> float:
        """How far AWS's clock is ahead of ours (behind: negative), if its last answers agree on that; else 0."""
        clocks = self._clocks
        return sorted(clocks)[CLOCKS_AGREE // 2] if len(clocks) == CLOCKS_AGREE else 0.0

    def _origin(self, service: str, region: str) -> str:
        return self._endpoint or "https://%s.%s.amazonaws.com" % (service, region)

    def _call(
        self,
        service: str,
        region: str,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: wire.Body,
        timeout_s: float,
        sha256: Optional[str] = None,
    ) -> wire.Reply:
        parts = urlsplit(url)
        sent_at = 0.0

        def signed() -> Mapping[str, str]:
            nonlocal sent_at
            keys, known = self._credentials(), body if isinstance(body, bytes) else b""
            sent_at = time.time()
            now = sent_at + self.clock_off_s  # a signature of another time is refused, and nobody would hear why
            return sign(method, parts.netloc, parts.path, (), headers, known, keys, service, region, now, sha256)

        def retried(reply: wire.Reply) -> bool:
            off_s = clock_off(sent_at, time.time(), date_of(reply.headers))
            self._clocks = (*self._clocks, off_s)[-CLOCKS_AGREE:]
            if reply.status in (400, 403) and abs(off_s) > SKEW_TOLERATED_S and SKEWED.search(reply.body):
                return True
            return reply.status == 400 and bool(THROTTLED.search(reply.body))

        reply = wire.request(method, url, signed, body, timeout_s, retried=retried)
        if reply.status < 500:
            self._heard()
        return reply

    def _json(self, service: str, region: str, version: str, target: str, document: Mapping[str, Any]) -> Any:
        headers = {"Content-Type": "application/x-amz-json-" + version, "X-Amz-Target": target}
        body = json.dumps(document, separators=(",", ":")).encode()
        reply = self._call(service, region, "POST", self._origin(service, region) + "/", headers, body, 20.0)
        if reply.status != 200:
            raise Refused(target.rpartition(".")[2], reply.status, reply.body)
        return json.loads(reply.body or b"{}")

    def _object_url(self, key: str) -> str:
        path = quote(key, safe="/-_.~")
        if self._endpoint:
            return "%s/%s/%s" % (self._endpoint, self._bucket, path)
        return "https://%s.s3.%s.amazonaws.com/%s" % (self._bucket, self._region, path)

    def get_object(self, key: str) -> Optional[bytes]:
        """The object's bytes; None where there is none (S3 says 403 to those who may not list). Raises Refused."""
        reply = self._call("s3", self._region, "GET", self._object_url(key), {}, b"", S3_TIMEOUT_S)
        if reply.status in (403, 404):
            return None
        if reply.status != 200:
            raise Refused("reading " + key, reply.status, reply.body)
        return reply.body

    def put_object(self, key: str, body: bytes, content_type: str = "application/octet-stream") -> None:
        """Write one object. Raises Refused or wire.Unreachable."""
        headers = {"Content-Type": content_type, "Content-Length": str(len(body))}
        reply = self._call("s3", self._region, "PUT", self._object_url(key), headers, body, S3_TIMEOUT_S)
        if reply.status != 200:
            raise Refused("writing " + key, reply.status, reply.body)

    def put_file(self, key: str, path: str, size: int) -> None:
        """Write a local file as one object, without holding it in memory. Raises Refused, wire.Unreachable or OSError."""
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(1 << 18), b""):
                digest.update(block)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        url = self._object_url(key)
        reply = self._call(
            "s3", self._region, "PUT", url, headers, wire.FileBody(path), S3_TIMEOUT_S, digest.hexdigest()
        )
        if reply.status != 200:
            raise Refused("writing " + key, reply.status, reply.body)

    def send_message(self, queue_url: str, body: str) -> None:
        """Put one message on the queue. Raises Refused or wire.Unreachable."""
        document = {"QueueUrl": queue_url, "MessageBody": body}
        self._json("sqs", self._region, "1.0", "AmazonSQS.SendMessage", document)

    def claim(self, table: str, host: str, attempt: str, at: float, expires_at: int) -> ClaimAnswer:
        """The one write that lets an attempt begin. Raises Refused (other than "already there") or wire.Unreachable."""
        item = {
            "host": {"S": host},
            "attempt": {"S": attempt},
            "by": {"S": "agent"},
            "at": {"N": repr(at)},
            "expires_at": {"N": str(expires_at)},
        }
        document = {
            "TableName": table,
            "Item": item,
            "ConditionExpression": "attribute_not_exists(#h)",
            "ExpressionAttributeNames": {"#h": "host"},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "DynamoDB_20120810.PutItem"}
        body = json.dumps(document, separators=(",", ":")).encode()
        url = self._origin("dynamodb", self._region) + "/"
        reply = self._call("dynamodb", self._region, "POST", url, headers, body, 20.0)
        if reply.status == 200:
            return ClaimAnswer(True, "agent", True)
        if b"ConditionalCheckFailed" in reply.body:
            held = json.loads(reply.body).get("Item") or {}
            by = str((held.get("by") or {}).get("S", ""))
            own = by == "agent" and float((held.get("at") or {}).get("N", 0)) == at
            return ClaimAnswer(False, by, own)
        raise Refused("the claim of " + attempt, reply.status, reply.body)

    def caller_userid(self) -> str:
        """`<role id>:<instance id>`, from STS, for a manifest that does not name the role."""
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        reply = self._call("sts", self._region, "POST", self._origin("sts", self._region) + "/", headers, body, 20.0)
        found = re.search(rb"<UserId>([^<]+)</UserId>", reply.body)
        if reply.status != 200 or not found:
            raise Refused("GetCallerIdentity", reply.status, reply.body)
        return found.group(1).decode()
