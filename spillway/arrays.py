"""Arrays in the SDK: many like jobs submitted, followed and cancelled as one thing (`Client.arrays`)."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spillway.errors import Refused, WaitTimedOut
from spillway.records import Array, Element

if TYPE_CHECKING:
    from spillway.transport import Transport

POLL_S = 1.0


class Arrays:
    """All methods raise `SpillwayError`, as those of `Client` do."""

    def __init__(self, http: Transport, new_key: Callable[[], str]) -> None:
        self._http, self._new_key = http, new_key

    def submit(
        self, job: Mapping[str, Any], *, count: int | None = None, elements: Sequence[Mapping[str, Any]] | None = None
    ) -> Array:
        """`count` jobs like `job` (a JobSpec), or one for each of `elements`, its own parameters; at most 10,000, in one request."""
        document: dict[str, Any] = {"job": {"idempotency_key": self._new_key(), **job}}
        document |= {"count": count} if elements is None else {"elements": [dict(element) for element in elements]}
        return Array.from_json(self._http.call("POST", "/arrays", json=document))

    def get(self, array_id: str) -> Array:
        """An array, and how many of its elements are where."""
        return Array.from_json(self._http.call("GET", _path(array_id)))

    def newest(self, pool: str | None = None, *, limit: int = 50) -> list[Array]:
        """The newest arrays of a pool, without counts."""
        params: dict[str, Any] = {"limit": limit} | ({"pool": pool} if pool else {})
        return [Array.from_json(item) for item in self._http.call("GET", "/arrays", params=params)["items"]]

    def elements(self, array_id: str, *, state: str | None = None) -> Iterator[Element]:
        """All elements by index, or those that have ended in one way ("failed"); read page by page."""
        cursor: int | None = None
        while True:
            params: dict[str, Any] = {"limit": 500}
            params |= {name: value for name, value in (("state", state), ("cursor", cursor)) if value is not None}
            page = self._http.call("GET", f"{_path(array_id)}/elements", params=params)
            yield from (Element.from_json(item) for item in page["items"])
            cursor = page["next"]
            if cursor is None:
                return

    def cancel(self, array_id: str) -> Array:
        """What waits never begins, what runs is told to end."""
        return Array.from_json(self._http.call("POST", f"{_path(array_id)}/cancel", json={}))

    def wait(
        self, array_id: str, *, timeout_s: float | None = None, on_change: Callable[[Array], None] | None = None
    ) -> Array:
        """The array, once it has ended. Raises WaitTimedOut."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        before: Mapping[str, int] | None = None
        while True:
            array = self.get(array_id)
            if on_change and array.counts != before:
                on_change(array)
            before = array.counts
            if array.ended:
                return array
            if deadline is not None and time.monotonic() > deadline:
                raise WaitTimedOut(f"{array_id} had not ended after {timeout_s:g} s: {dict(array.counts)}.", [array_id])
            time.sleep(POLL_S)

    def results(self, array_id: str, *, timeout_s: float = 120.0) -> list[dict[str, str]]:
        """The merged results of an array that has ended: a row for each element, in order; all cells are text."""
        return list(csv.DictReader(io.StringIO(self.text(array_id, timeout_s=timeout_s))))

    def text(self, array_id: str, *, timeout_s: float = 120.0) -> str:
        """The same as CSV. Raises WaitTimedOut where it has not ended, and Refused where there is no table of it."""
        return b"".join(self._read(array_id, timeout_s)).decode()

    def download(self, array_id: str, into: str | Path, *, timeout_s: float = 120.0) -> Path:
        """The same as a CSV file."""
        target = Path(into)
        target.write_bytes(b"".join(self._read(array_id, timeout_s)))
        return target

    def _read(self, array_id: str, timeout_s: float) -> list[bytes]:
        deadline = time.monotonic() + timeout_s
        while True:
            found = self._http.call("GET", f"{_path(array_id)}/results")
            if found["ready"]:
                parts: list[bytes] = []
                self._http.stream_to(found["url"], parts.append)
                return parts
            if found["problem"]:
                raise Refused(f"There is no table of {array_id}: {found['problem']}.")
            if time.monotonic() > deadline:
                raise WaitTimedOut(f"The results of {array_id} were not merged after {timeout_s:g} s.", [array_id])
            time.sleep(POLL_S)


def _path(array_id: str) -> str:
    return f"/arrays/{quote(array_id, safe='')}"
