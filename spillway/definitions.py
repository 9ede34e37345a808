"""Families and schedules: the part of `Client` that defines jobs and when they are submitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from spillway.records import Job
from spillway.transport import Transport


class Definitions:
    """Methods of `Client`. Documents are as docs/contracts.md §7 has them."""

    _http: Transport

    # -- families

    def families(self) -> list[dict[str, Any]]:
        """All families, each at its newest version."""
        return self._pages("/families")

    def family(self, name: str, *, version: int | None = None) -> dict[str, Any]:
        """A family, at its newest version or the one that is named."""
        query = "" if version is None else f"?version={version}"
        return dict(self._http.call("GET", f"{_family(name)}{query}"))

    def family_versions(self, name: str) -> list[dict[str, Any]]:
        """The last 100 versions of a family, the newest first."""
        return list(self._http.call("GET", f"{_family(name)}/versions")["items"])

    def put_family(self, name: str, document: Mapping[str, Any], *, version: int | None = None) -> dict[str, Any]:
        """Make a family (`title`, `defaults`, `schema`, `source`), or its next version; `version`: only if that is the newest."""
        return dict(self._http.call("PUT", _family(name), json=dict(document), version=version))

    # -- schedules

    def schedules(self) -> list[dict[str, Any]]:
        """All schedules that this token may see."""
        return self._pages("/schedules")

    def schedule(self, name: str) -> dict[str, Any]:
        """A schedule and its next fires."""
        return dict(self._http.call("GET", _schedule(name)))

    def put_schedule(
        self, name: str, timing: str, job: Mapping[str, Any], *, version: int | None = None, **facts: Any
    ) -> dict[str, Any]:
        """Make a schedule, or replace it: `timing` is cron, `rate(…)` or `at(…)`, `job` a JobSpec.

        Keywords: `zone`, `misfire`, `overlap`, `adverse`, `paused`, `owner`.
        """
        document = {"timing": timing, "job": dict(job), **facts}
        return dict(self._http.call("PUT", _schedule(name), json=document, version=version))

    def pause_schedule(self, name: str) -> dict[str, Any]:
        """It fires no more, until it is resumed."""
        return dict(self._http.call("POST", f"{_schedule(name)}/pause", json={}))

    def resume_schedule(self, name: str) -> dict[str, Any]:
        """It fires again, from now on."""
        return dict(self._http.call("POST", f"{_schedule(name)}/resume", json={}))

    def run_schedule(self, name: str) -> Job:
        """Submit its job now; the fires to come stay as they are."""
        return Job.from_json(self._http.call("POST", f"{_schedule(name)}/run", json={}))

    def delete_schedule(self, name: str) -> dict[str, Any]:
        """Delete it; its jobs stay."""
        return dict(self._http.call("DELETE", _schedule(name)))

    def next_fires(self, name: str, limit: int = 20) -> list[dict[str, Any]]:
        """When it fires next: `{"at", "local", "note"}`."""
        return list(self._http.call("GET", f"{_schedule(name)}/next?limit={limit}")["items"])

    def fires(self, name: str, limit: int = 20) -> list[dict[str, Any]]:
        """What became of its last fires, the newest first."""
        return list(self._http.call("GET", f"{_schedule(name)}/fires?limit={limit}")["items"])

    def _pages(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self._http.call("GET", f"{path}?cursor={quote(cursor, safe='')}" if cursor else path)
            items += page["items"]
            if not (cursor := page.get("next")):
                return items


def _family(name: str) -> str:
    return f"/families/{quote(name, safe='')}"


def _schedule(name: str) -> str:
    return f"/schedules/{quote(name, safe='')}"
