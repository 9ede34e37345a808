"""The instance metadata service, version 2 (session tokens): who this instance is, and its role's credentials."""

from __future__ import annotations

import json
import os
import threading
import time
from calendar import timegm
from typing import Optional

from agent import wire
from agent.sigv4 import Credentials

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"  # the variable that says it is elsewhere
TOKEN_LIFETIME_S = 21600
REFRESH_BEFORE_S = 300.0  # the service hands out fresh keys at least five minutes before the old ones end


class Metadata:
    """A client of the metadata service at `endpoint`; thread-safe."""

    def __init__(self, endpoint: Optional[str] = None) -> None:
        given = endpoint or os.environ.get(ENDPOINT) or "http://169.254.169.254"
        self._endpoint = given.rstrip("/")
        self._lock = threading.Lock()
        self._token = ""
        self._token_ends = 0.0
        self._credentials: Optional[Credentials] = None
        self._role = ""

    def _session(self, tries: int) -> str:
        if time.monotonic() > self._token_ends - 60:
            reply = wire.request(
                "PUT",
                self._endpoint + "/latest/api/token",
                lambda: {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFETIME_S), "Content-Length": "0"},
                timeout_s=2.0,
                attempts_max=tries,
            )
            if reply.status != 200:
                raise wire.Unreachable("the metadata service refused a session token (%d)" % reply.status)
            self._token = reply.body.decode()
            self._token_ends = time.monotonic() + TOKEN_LIFETIME_S
        return self._token

    def get(self, path: str, tries: int = 5) -> Optional[str]:
        """The text at /latest/<path>, None where there is none (404). Raises wire.Unreachable."""
        for fresh in (False, True):
            token = self._session(tries)
            reply = wire.request(
                "GET",
                self._endpoint + "/latest/" + path,
                lambda token=token: {"X-aws-ec2-metadata-token": token},  # type: ignore[misc]  # bound now, not later
                timeout_s=2.0,
                attempts_max=tries,
            )
            if reply.status == 200:
                return reply.body.decode()
            if reply.status == 404:
                return None
            if reply.status == 401 and not fresh:
                self._token_ends = 0.0  # the service restarted and has forgotten the session
                continue
            break
        raise wire.Unreachable("the metadata service answered %d for %s" % (reply.status, path))

    def credentials(self) -> Credentials:
        """The role's keys, renewed before they end. Raises wire.Unreachable when there are none."""
        with self._lock:
            now = time.time()
            kept = self._credentials
            if kept is not None and now < kept.expires_at - REFRESH_BEFORE_S:
                return kept
            try:
                self._credentials = self._fetch()
            except wire.Unreachable:
                if kept is None or now >= kept.expires_at:
                    raise
            assert self._credentials is not None
            return self._credentials

    def _fetch(self) -> Credentials:
        if not self._role:
            listing = self.get("meta-data/iam/security-credentials/")
            if not listing:
                raise wire.Unreachable("the instance has no role: it was launched without an instance profile")
            self._role = listing.split()[0]
        text = self.get("meta-data/iam/security-credentials/" + self._role)
        document = json.loads(text or "{}")
        try:
            ends = timegm(time.strptime(document["Expiration"][:19], "%Y-%m-%dT%H:%M:%S"))
            return Credentials(
                document["AccessKeyId"], document["SecretAccessKey"], document.get("Token") or "", float(ends)
            )
        except (KeyError, ValueError) as error:
            raise wire.Unreachable("the metadata service gave no usable credentials (%r)" % error) from error
