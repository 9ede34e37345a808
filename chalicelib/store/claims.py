"""Claims in DynamoDB: one conditional put lets an attempt begin, or takes it back."""

from __future__ import annotations

from chalicelib.store.connection import done
from chalicelib.store.tables import ClaimRow


class DynamoClaims:
    """`ports.Claims` over the claims table."""

    def __init__(self, row: type[ClaimRow]) -> None:
        self._row = row

    def take(self, userid: str, job_id: str, attempt: int, *, by: str, at: float, expires_at: float) -> bool:
        claim = self._row(userid, f"{job_id}#{attempt}", by=by, at=at, expires_at=expires_at)
        return done(lambda: claim.save(condition=self._row.host.does_not_exist()))

    def holder(self, userid: str, job_id: str, attempt: int) -> str | None:
        try:
            return self._row.get(userid, f"{job_id}#{attempt}", consistent_read=True).by
        except self._row.DoesNotExist:
            return None
