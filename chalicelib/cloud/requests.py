"""How many requests went to AWS, by operation: the number behind "100 jobs on 100 machines is one call"."""

from __future__ import annotations

from collections import Counter
from threading import Lock


class Requests:
    """Counts requests by "service.Operation", e.g. "ec2.RunInstances". Retries count: AWS's limits count them too."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def add(self, operation: str) -> None:
        with self._lock:
            self._counts[operation] += 1

    def count(self, operation: str) -> int:
        """Requests of one operation since the start or the last `take`."""
        return self._counts[operation]

    def counts(self) -> dict[str, int]:
        """All operations with their counts."""
        with self._lock:
            return dict(self._counts)

    def take(self) -> dict[str, int]:
        """All counts, and begin again at zero: what one Lambda invocation reports."""
        with self._lock:
            counts = dict(self._counts)
            self._counts.clear()
            return counts
