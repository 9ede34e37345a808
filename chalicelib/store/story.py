"""The story in DynamoDB: lines beside the job's own row, under the subject's id, sorted by time."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from chalicelib.core.story import Line
from chalicelib.store.batches import write_batch
from chalicelib.store.tables import StoryRow


class DynamoStory:
    """`ports.Story` over the jobs table."""

    def __init__(self, row: type[StoryRow]) -> None:
        self._row = row

    def append(self, lines: Sequence[Line], expires_at: float) -> None:
        write_batch(self._row, puts=[self._of(n, line, expires_at) for n, line in enumerate(lines)])

    def of(self, subject: str, limit: int = 100) -> list[Line]:
        latest = self._row.query(
            subject, self._row.part.startswith("story#"), consistent_read=True, scan_index_forward=False, limit=limit
        )
        lines = [Line(at=row.at, subject=row.id, event=row.event, reason=row.reason) for row in latest]
        return lines[::-1]

    def _of(self, n: int, line: Line, expires_at: float) -> StoryRow:
        """Microseconds, then the place in this call, then chance: lines of one moment are all kept, and those of one call in order."""
        part = f"story#{round(line.at * 1e6):017d}#{n:04d}#{secrets.token_hex(4)}"
        return self._row(line.subject, part, at=line.at, event=line.event, reason=line.reason, expires_at=expires_at)
