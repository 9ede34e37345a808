"""The story in memory."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from threading import Lock

from chalicelib.core.story import Line


class MemoryStory:
    """`ports.Story`: lines by subject."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lines: dict[str, list[Line]] = {}

    def append(self, lines: Sequence[Line], expires_at: float) -> None:
        with self._lock:
            for line in lines:
                bisect.insort(self._lines.setdefault(line.subject, []), line, key=lambda told: told.at)

    def of(self, subject: str, limit: int = 100) -> list[Line]:
        with self._lock:
            return self._lines.get(subject, [])[-limit:]
