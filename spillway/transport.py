"""One HTTP request, made until it is answered.

Every request of the API may be sent twice: GET, PUT and PATCH by nature, POST /jobs because each spec carries an idempotency
key, uploads because they are addressed by content. So connection errors, 429 and 5xx are retried with growing pauses.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from spillway.errors import FieldError, NotAllowed, OverQuota, Refused, Unreachable

TIMEOUT = httpx.Timeout(35.0, connect=5.0)  # API Gateway itself gives up after 29 s
TRIES_MAX = 5
PAUSE_MAX_S = 5.0
_RETRIED = frozenset({429, 500, 502, 503, 504})


class Transport:
    """Sends requests to one API with one token."""

    def __init__(
        self, url: str, token: str, *, tries_max: int = TRIES_MAX, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.url = url.rstrip("/")
        self._tries_max = tries_max
        self._pause = pause
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._api = httpx.Client(headers={**headers, "User-Agent": "spillway-client"}, timeout=TIMEOUT)
        # Signed URLs carry their own proof; S3 refuses a request that also has an Authorization header.
        self._plain = httpx.Client(timeout=httpx.Timeout(300.0, connect=5.0), follow_redirects=True)

    def close(self) -> None:
        """Close all connections."""
        self._api.close()
        self._plain.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        version: int | None = None,
    ) -> Any:
        """The parsed JSON answer. Raises Refused, NotAllowed or Unreachable, each with the server's own sentence.

        `version`: only if what is changed is at this one (If-Match).
        """
        headers = None if version is None else {"If-Match": f'"{version}"'}
        response = self._send(self._api, method, f"{self.url}{path}", json=json, params=params, headers=headers)
        if response.is_success:
            try:
                return response.json() if response.content else {}
            except ValueError as error:
                raise Unreachable(f"{self.url} answered something that is not JSON; is it a Spillway API?") from error
        raise problem(response, self.url)

    def put_bytes(self, url: str, content: bytes, headers: Mapping[str, str]) -> None:
        """Upload to a signed URL."""
        response = self._send(self._plain, "PUT", url, content=content, headers=dict(headers))
        if not response.is_success:
            raise Unreachable(f"The upload was refused with {response.status_code}; ask for a new URL and try again.")

    def stream_to(self, url: str, write: Callable[[bytes], object]) -> None:
        """Download a signed URL piece by piece."""
        try:
            with self._plain.stream("GET", url) as response:
                if not response.is_success:
                    raise Refused(
                        f"The file could not be fetched ({response.status_code}).", status=response.status_code
                    )
                for piece in response.iter_bytes():
                    write(piece)
        except httpx.TransportError as error:
            raise Unreachable(f"The download broke off: {error}.") from error

    def _send(self, client: httpx.Client, method: str, url: str, **request: Any) -> httpx.Response:
        for attempt in range(1, self._tries_max + 1):
            last = attempt == self._tries_max
            try:
                response = client.request(method, url, **request)
            except httpx.TransportError as error:
                if last:
                    raise Unreachable(
                        f"{httpx.URL(url).copy_with(query=None)} does not answer "
                        f"({error or type(error).__name__}). Is it running, and is the URL right?"
                    ) from error
                self._pause(_pause_s(attempt, None))
                continue
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise Unreachable(f"{url!r} is not a URL that can be called: {error}.") from error
            if response.status_code not in _RETRIED or last or _over_quota(response):
                return response
            self._pause(_pause_s(attempt, response.headers.get("retry-after")))
        raise AssertionError("unreachable: the last try returns or raises")


def _over_quota(response: httpx.Response) -> bool:
    """Whether Spillway itself says 429. API Gateway, which is asked too often, says it without a problem document."""
    kind = str(response.headers.get("content-type", ""))
    return response.status_code == 429 and kind.startswith("application/problem+json")


def _pause_s(attempt: int, retry_after: str | None) -> float:
    """0.2 s, 0.4 s, 0.8 s … with up to half as much again at random, so that many clients do not return in step."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), PAUSE_MAX_S)
    return min(0.2 * 2.0 ** (attempt - 1), PAUSE_MAX_S) * (1 + random.random() / 2)  # noqa: S311  # not a secret


def problem(response: httpx.Response, url: str) -> Refused | NotAllowed | Unreachable:
    """The error for an answer that is not a success: problem+json's own sentences, where there are any."""
    try:
        document = response.json()
    except ValueError:
        document = {}
    document = document if isinstance(document, dict) else {}
    # API Gateway's own refusals (no token, throttled) say "message" or "Message" and nothing else.
    sentence = document.get("detail") or document.get("title") or document.get("message") or document.get("Message")
    fields = [
        FieldError(str(e.get("field", "")), str(e.get("message", "")))
        for e in document.get("errors") or []
        if isinstance(e, dict)
    ]
    status = response.status_code
    if status in (401, 403):
        sentence = f"{sentence or 'Not allowed'} ({url} answered {status}: check the token)."
        return NotAllowed(sentence, fields=fields, status=status)
    if _over_quota(response):
        return OverQuota(str(sentence), fields=fields, status=status)
    if status == 429 or status >= 500:
        return Unreachable(f"{url} answered {status}: {sentence or 'no reason given'}.", fields=fields, status=status)
    return Refused(sentence or f"{url} answered {status} without a reason.", fields=fields, status=status)
