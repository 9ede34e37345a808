"""Claims in memory."""

from __future__ import annotations

from threading import Lock


class MemoryClaims:
    """`ports.Claims`: the first to take a key has it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._winners: dict[tuple[str, str, int], str] = {}

    def take(self, userid: str, job_id: str, attempt: int, *, by: str, at: float, expires_at: float) -> bool:
        with self._lock:
            if (userid, job_id, attempt) in self._winners:
                return False
            self._winners[userid, job_id, attempt] = by
            return True

    def holder(self, userid: str, job_id: str, attempt: int) -> str | None:
        with self._lock:
            return self._winners.get((userid, job_id, attempt))
