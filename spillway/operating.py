"""Pools, hosts, tokens and quotas: the part of `Client` for who runs a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from spillway.records import Host, Pool
from spillway.transport import Transport


class Operating:
    """Methods of `Client`. Documents are as docs/contracts.md §7 has them."""

    _http: Transport

    # -- pools and hosts

    def pools(self) -> list[Pool]:
        """All pools."""
        return [Pool.from_json(item) for item in self._http.call("GET", "/pools")["items"]]

    def pool(self, name: str) -> Pool:
        """One pool."""
        return Pool.from_json({"name": name, **self._http.call("GET", f"/pools/{quote(name, safe='')}")})

    def put_pool(self, name: str, spec: Mapping[str, Any], *, version: int | None = None) -> Pool:
        """Create a pool, or replace all that was said of it; `spec` is a PoolSpec document, and what it leaves out is inherited.

        `version`: only if the pool is at this one, else Refused with status 412.
        """
        answer = self._http.call("PUT", _pool(name), json=dict(spec), version=version)
        return Pool.from_json({"name": name, **answer})

    def patch_pool(self, name: str, changes: Mapping[str, Any], *, version: int | None = None) -> Pool:
        """Change some settings of a pool, by a JSON merge patch: None takes a setting back to what is inherited."""
        answer = self._http.call("PATCH", _pool(name), json=dict(changes), version=version)
        return Pool.from_json({"name": name, **answer})

    def settings(self) -> dict[str, Any]:
        """The stage's own defaults of all pools: `{"version", "settings", "effective", "changed_by", "changed_at"}`."""
        return dict(self._http.call("GET", "/settings"))

    def patch_settings(self, changes: Mapping[str, Any], *, version: int | None = None) -> dict[str, Any]:
        """Change the stage's defaults, and with them every pool that says nothing else."""
        return dict(self._http.call("PATCH", "/settings", json=dict(changes), version=version))

    def restart_pool(self, name: str) -> Pool:
        """Replace all hosts of a pool, a share at a time; what runs on them ends first."""
        return Pool.from_json({"name": name, **self._http.call("POST", f"{_pool(name)}/restart", json={})})

    def kill_pool(self, name: str, *, force: bool = False) -> Pool:
        """Let all hosts of a pool go, when what runs on them has ended, and launch none.

        Refused with status 409 while jobs wait or run, unless forced.
        """
        return Pool.from_json({"name": name, **self._http.call("POST", f"{_pool(name)}/kill", json={"force": force})})

    def start_pool(self, name: str) -> Pool:
        """Let a killed pool, or one whose scaling was switched off, have hosts again."""
        return Pool.from_json({"name": name, **self._http.call("POST", f"{_pool(name)}/start", json={})})

    def bookings(self, pool: str) -> list[dict[str, Any]]:
        """The pool's calendar: bookings that are not over, by their start."""
        return list(self._http.call("GET", f"{_pool(pool)}/calendar")["items"])

    def book(self, pool: str, booking: str, **facts: Any) -> dict[str, Any]:
        """Book capacity: `title`, `starts_at`, `ends_at` (ISO 8601 with a zone, or epoch seconds), `people` or `hosts`."""
        document = {name: value for name, value in facts.items() if value is not None}
        return dict(self._http.call("PUT", f"{_pool(pool)}/calendar/{quote(booking, safe='')}", json=document))

    def unbook(self, pool: str, booking: str) -> list[dict[str, Any]]:
        """Take a booking back; those that are left."""
        return list(self._http.call("DELETE", f"{_pool(pool)}/calendar/{quote(booking, safe='')}")["items"])

    def interest(self, pool: str, viewer: str, *, seconds: int = 120) -> None:
        """Say that somebody looks at what this pool works for; to be said again before the seconds are over."""
        self._http.call("POST", f"{_pool(pool)}/interest", json={"viewer": viewer, "seconds": seconds})

    def hosts(self, pool: str) -> list[Host]:
        """The hosts of a pool."""
        found: list[Host] = []
        params: dict[str, str] | None = {}
        while params is not None:
            answer = self._http.call("GET", f"/pools/{quote(pool, safe='')}/hosts", params=params)
            found += [Host.from_json(item) for item in answer["items"]]
            params = {"cursor": answer["next"]} if answer.get("next") else None
        return found

    def host(self, host_id: str) -> Host:
        """One host as it is now. One that is over has no row any more, but a story."""
        return Host.from_json(self._http.call("GET", f"/hosts/{quote(host_id, safe='')}"))

    def plan(self, pool: str) -> dict[str, Any]:
        """What a pass would do to this pool now: a Plan document (docs/contracts.md §7). Nothing is done."""
        return dict(self._http.call("GET", f"/pools/{quote(pool, safe='')}/plan"))

    def samples(
        self, pool: str, *, since: float | None = None, until: float | None = None, limit: int = 60
    ) -> list[dict[str, Any]]:
        """What the pool was, minute by minute, oldest first: Sample documents (docs/contracts.md §7). Times in epoch seconds."""
        params: dict[str, Any] = {"limit": limit}
        params |= {name: at for name, at in (("since", since), ("until", until)) if at is not None}
        answer = self._http.call("GET", f"{_pool(pool)}/samples", params=params)
        return list(answer["items"])

    def invariants(self, pool: str) -> list[str]:
        """What does not hold of a pool, of all that must always hold; empty is good."""
        return list(self._http.call("GET", f"/pools/{quote(pool, safe='')}/invariants")["broken"])

    # -- access

    def create_token(
        self, owner: str, *, role: str = "submitter", days: int | None = 365, note: str = ""
    ) -> dict[str, Any]:
        """Make a token (admins): the answer's `token` is the only place where its text ever is. `days` None: until it is revoked."""
        document = {"owner": owner, "role": role, "days": days, "note": note}
        return dict(self._http.call("POST", "/tokens", json=document))

    def tokens(self) -> list[dict[str, Any]]:
        """All tokens that can be used still (admins): `id`, `role`, `owner`, `note`, `expires_at`, `used_at` …"""
        return list(self._http.call("GET", "/tokens")["items"])

    def revoke_token(self, token_id: str) -> dict[str, Any]:
        """Take a token away by its id (admins); within a minute it opens nothing any more."""
        return dict(self._http.call("DELETE", f"/tokens/{quote(token_id, safe='')}"))

    def owners(self) -> list[dict[str, Any]]:
        """The quotas of all owners that were ever given one (operators)."""
        return list(self._http.call("GET", "/owners")["items"])

    def owner(self, name: str) -> dict[str, Any]:
        """An owner's quota (`jobs_max`, `cpu_max`, `usd_per_day`; None: no limit) and what is `used` of it."""
        return dict(self._http.call("GET", f"/owners/{quote(name, safe='')}"))

    def put_owner(self, name: str, quota: Mapping[str, Any], *, version: int | None = None) -> dict[str, Any]:
        """Replace an owner's quota (operators); what is left out is not limited. `version`: only if it is at this one."""
        return dict(self._http.call("PUT", f"/owners/{quote(name, safe='')}", json=dict(quota), version=version))

    def health(self) -> dict[str, Any]:
        """`{"ok": bool, "checks": {…}}`; needs no token."""
        return dict(self._http.call("GET", "/healthz"))


def _pool(name: str) -> str:
    return f"/pools/{quote(name, safe='')}"
