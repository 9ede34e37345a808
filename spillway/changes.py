"""The part of the SDK that changes jobs that are there: cancelled, run again, in another class; one, or all that match a filter."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from spillway.records import Bulk, Job


class Changes:
    """Mixed into `Client`."""

    _http: Any

    def cancel(self, job_id: str) -> Job:
        """Ask for a job to be cancelled; its state changes once that is done."""
        return Job.from_json(self._http.call("POST", f"{_job(job_id)}/cancel", json={}))

    def retry(self, job_id: str, *, priority: int | None = None) -> Job:
        """Run a job that has ended again, as a new job (`retry_of`), in its class or another one. Refused (409) until it has ended.

        Asking again after a broken connection leads to the same new job.
        """
        asked: dict[str, Any] = {"idempotency_key": uuid.uuid4().hex}
        if priority is not None:
            asked["priority"] = priority
        return Job.from_json(self._http.call("POST", f"{_job(job_id)}/retry", json=asked))

    def reprioritise(self, job_id: str, priority: int) -> Job:
        """Put a job into another priority class (0 first … 9 last), behind what its owner has there. Refused (409) when it has ended."""
        return Job.from_json(self._http.call("PATCH", _job(job_id), json={"priority": priority}))

    def bulk(
        self,
        action: str,
        which: Mapping[str, Any],
        *,
        expect: int | None = None,
        priority: int | None = None,
    ) -> Bulk:
        """`cancel`, `retry` or `reprioritise` all jobs that match a filter: `pool`, `ids`, `owner`, `states`, `family`, `array`,
        `schedule`, `labels`, `since`, `until`.

        Without `expect` they are only counted. With it, it is done if so many match, and refused (409) if another number does.
        """
        asked: dict[str, Any] = {"action": action, "filter": dict(which)}
        asked |= {k: v for k, v in (("expect", expect), ("priority", priority)) if v is not None}
        if expect is not None and action == "retry":
            asked["idempotency_key"] = uuid.uuid4().hex
        return Bulk.from_json(self._http.call("POST", "/jobs/bulk", json=asked))


def _job(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"
