"""AWS clients: made when first used, once per service and region, all with the same short patience.

A function has 30 s, so no call may take them all: two attempts of at most 2 + 10 s. A launch gets one attempt of 20 s: whatever
becomes of it, a later pass sends the same launch again with the same ClientToken; and EC2 says "no capacity" with status 500, which
would be retried for nothing. (`adaptive` retries would sleep inside us instead of telling the pass that it is being throttled.)
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from chalicelib.cloud.requests import Requests

if TYPE_CHECKING:
    from botocore.session import Session

CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 10
LAUNCH_READ_TIMEOUT_S = 20
ASK_READ_TIMEOUT_S = 3


class Clients:
    """The only maker of AWS clients. `endpoint_url` overrides AWS_ENDPOINT_URL, `session` the default credentials."""

    def __init__(self, requests: Requests, endpoint_url: str | None = None, session: Session | None = None) -> None:
        self.requests = requests
        self._endpoint_url = endpoint_url
        self._session = session
        self._lock = Lock()
        self._made: dict[tuple[str, str, int], Any] = {}

    def get(self, service: str, region: str) -> Any:
        """The client of a service in a region."""
        return self._get(service, region, READ_TIMEOUT_S, attempts=2)

    def launcher(self, region: str) -> Any:
        """The EC2 client for RunInstances: more patience, no retries."""
        return self._get("ec2", region, LAUNCH_READ_TIMEOUT_S, attempts=1)

    def asker(self, region: str) -> Any:
        """The EC2 client for questions while somebody waits: little patience, no retries."""
        return self._get("ec2", region, ASK_READ_TIMEOUT_S, attempts=1)

    def _get(self, service: str, region: str, read_timeout_s: int, attempts: int) -> Any:
        key = (service, region, read_timeout_s)
        with self._lock:  # clients may be shared between threads, but not be made by two at once
            if key not in self._made:
                self._made[key] = self._make(service, region, read_timeout_s, attempts)
            return self._made[key]

    def _make(self, service: str, region: str, read_timeout_s: int, attempts: int) -> Any:
        import botocore.session  # 0.1 s and more: not before the first call
        from botocore.config import Config

        if self._session is None:
            self._session = botocore.session.get_session()
        own_endpoint = self._endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=read_timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            tcp_keepalive=True,
            signature_version="s3v4" if service == "s3" else None,
            s3={"addressing_style": "path" if own_endpoint else "virtual"},
            # No CRC of botocore's own: TLS guards the way, and uploads by signed URL carry the SHA-256 that S3 compares.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = self._session.create_client(
            service, region_name=region, endpoint_url=self._endpoint_url, config=config
        )
        client.meta.events.register("before-send", self._count)
        return client

    def _count(self, event_name: str, **_: Any) -> None:
        self.requests.add(event_name.removeprefix("before-send."))
