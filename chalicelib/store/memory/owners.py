"""Owners in memory."""

from __future__ import annotations

from threading import Lock

from chalicelib.core.quota import OwnerQuota, Quota


class MemoryOwners:
    """`ports.Owners`: quotas, and what attempts of a day have cost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._quotas: dict[str, OwnerQuota] = {}
        self._spent: dict[tuple[str, str], dict[str, float]] = {}

    def quotas(self) -> list[OwnerQuota]:
        with self._lock:
            return [self._quotas[owner] for owner in sorted(self._quotas)]

    def quota(self, owner: str) -> OwnerQuota:
        with self._lock:
            return self._quotas.get(owner, OwnerQuota(owner=owner))

    def put_quota(self, owner: str, quota: Quota, *, version: int, by: str, at: float) -> OwnerQuota | None:
        with self._lock:
            if self._quotas.get(owner, OwnerQuota(owner=owner)).version != version:
                return None
            made = self._quotas[owner] = OwnerQuota(owner=owner, quota=quota, version=version + 1, by=by, at=at)
            return made

    def spend(self, owner: str, day: str, attempt: str, usd: float, expires_at: float) -> None:
        with self._lock:
            self._spent.setdefault((owner, day), {})[attempt] = usd

    def spent(self, owner: str, day: str, enough: float) -> float:
        with self._lock:
            usd = 0.0
            for attempt in sorted(self._spent.get((owner, day), {})):
                usd += self._spent[owner, day][attempt]
                if usd >= enough:
                    break
            return usd
