"""Owners in DynamoDB: their quotas, and what their attempts of a day have cost, in the registry table."""

from __future__ import annotations

from chalicelib.core.quota import OwnerQuota, Quota
from chalicelib.store.batches import read_all
from chalicelib.store.connection import done
from chalicelib.store.tables import QuotaRow, SpentRow


class DynamoOwners:
    """`ports.Owners`: hash `quota`, range the owner; hash `spent/<owner>`, range `<day>/<job>#<attempt>`."""

    def __init__(self, quota: type[QuotaRow], spent: type[SpentRow]) -> None:
        self._quota, self._spent = quota, spent

    def quotas(self) -> list[OwnerQuota]:
        return [_quota(self._quota.from_raw_data(item)) for item in read_all(self._quota, "quota")]

    def quota(self, owner: str) -> OwnerQuota:
        try:
            return _quota(self._quota.get("quota", owner, consistent_read=True))
        except self._quota.DoesNotExist:
            return OwnerQuota(owner=owner)

    def put_quota(self, owner: str, quota: Quota, *, version: int, by: str, at: float) -> OwnerQuota | None:
        row = self._quota("quota", owner, quota=quota, version=version + 1, by=by, at=at)
        before = self._quota.version == version if version else self._quota.name.does_not_exist()
        return _quota(row) if done(lambda: row.save(condition=before)) else None

    def spend(self, owner: str, day: str, attempt: str, usd: float, expires_at: float) -> None:
        self._spent(f"spent/{owner}", f"{day}/{attempt}", usd=usd, expires_at=expires_at).save()

    def spent(self, owner: str, day: str, enough: float) -> float:
        usd = 0.0
        for item in read_all(self._spent, f"spent/{owner}", self._spent.name.startswith(f"{day}/")):
            usd += float(item["usd"]["N"])
            if usd >= enough:
                break
        return usd


def _quota(row: QuotaRow) -> OwnerQuota:
    return OwnerQuota(owner=row.name, quota=row.quota, version=row.version, by=row.by, at=row.at)
