"""What lies outside of the stage: webhooks, and the queue and bucket of a grading system that this stage was told of."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

from chalicelib.cloud.clients import Clients
from chalicelib.cloud.refusals import asking, code_of
from chalicelib.config import Settings
from chalicelib.core import webhook
from chalicelib.errors import CloudUnavailable

CONNECT_TIMEOUT_S = 4.0
ANSWER_TIMEOUT_S = 8.0
PATIENCE_S = 10.0  # for a whole call
ANSWER_BYTES_MAX = 4096  # that are read at all

Resolve = Callable[[str, int], list[str]]  # name and port → addresses


class AwsOutside:
    """`ports.Outside` on SQS, S3 and plain HTTP."""

    def __init__(
        self, clients: Clients, settings: Settings, resolve: Resolve | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        self._clients = clients
        self._settings = settings
        self._resolve = resolve or _addresses
        self._patience_s = patience_s

    def send(self, queue_url: str, body: Mapping[str, Any]) -> None:
        with asking("a message was sent to the results queue"):
            self._clients.get("sqs", _region_of(queue_url) or self._settings.region).send_message(
                QueueUrl=queue_url, MessageBody=json.dumps(body, separators=(",", ":"))
            )

    def put(self, region: str, bucket: str, key: str, body: bytes, content_type: str) -> None:
        with asking(f"S3 was asked to keep {key} in {bucket}"):
            self._clients.get("s3", region).put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def copy(self, key: str, region: str, bucket: str, to_key: str) -> bool:
        from botocore.exceptions import ClientError

        with asking(f"S3 was asked to copy {key} to {bucket}"):
            try:
                source = {"Bucket": self._settings.bucket, "Key": key}
                self._clients.get("s3", region).copy_object(Bucket=bucket, Key=to_key, CopySource=source)
            except ClientError as error:
                if code_of(error) in ("NoSuchKey", "404", "NotFound"):
                    return False
                raise
        return True

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """To the very address that was judged, so that a name cannot lead elsewhere a moment later; redirections are not followed."""
        own = self._settings.webhook_hosts
        if fault := webhook.fault(url, own):
            raise CloudUnavailable(f"the webhook {fault}")
        answered: list[int | Exception] = []

        def call() -> None:
            try:
                answered.append(self._post(url, body, headers, own))
            except Exception as error:  # raised below, in the caller's own thread
                answered.append(error)

        # Each read may take as long as it is allowed, and who answers byte by byte would hold us for ever: so all of it has an end.
        thread = Thread(target=call, daemon=True)
        thread.start()
        thread.join(self._patience_s)
        answer = answered[0] if answered else CloudUnavailable(f"{urlsplit(url).hostname} does not answer in time")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _post(self, url: str, body: bytes, headers: Mapping[str, str], own: Collection[str]) -> int:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        try:
            connection = _Pinned(host, port, self._address(host, port, own), parts.scheme == "https")
            try:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                connection.request("POST", path, body, dict(headers))
                answer = connection.getresponse()
                answer.read(ANSWER_BYTES_MAX)
                return answer.status
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CloudUnavailable(f"{host} does not answer: {str(error) or type(error).__name__}") from error

    def _address(self, host: str, port: int, own: Collection[str]) -> str:
        """One of the name's addresses, all of which must be public. Raises OSError, CloudUnavailable."""
        found = self._resolve(host, port)
        if host not in own and (private := [address for address in found if not webhook.public(address)]):
            raise CloudUnavailable(f"{host} leads to {private[0]}, which is no address of the public internet")
        return found[0]


def _region_of(queue_url: str) -> str:
    """`https://sqs.eu-central-1.amazonaws.com/…` → `eu-central-1`; "" for other addresses."""
    labels = (urlsplit(queue_url).hostname or "").split(".")
    return labels[1] if len(labels) >= 4 and labels[0] == "sqs" and labels[2] == "amazonaws" else ""


class _Pinned(http.client.HTTPConnection):
    """A connection to an address, for a name: the certificate must be the name's."""

    def __init__(self, host: str, port: int, address: str, secure: bool) -> None:
        super().__init__(host, port, timeout=ANSWER_TIMEOUT_S)
        self._address = address
        self._secure = secure
        self.default_port = 443 if secure else 80

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), CONNECT_TIMEOUT_S)
        self.sock.settimeout(ANSWER_TIMEOUT_S)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _addresses(host: str, port: int) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
