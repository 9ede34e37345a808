"""EC2's token buckets in memory."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

from chalicelib.core import bucket
from chalicelib.core.bucket import Ask, Bucket, Taken


class MemoryBuckets:
    """`ports.Buckets`: a bucket for each region."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._buckets: dict[str, Bucket] = {}

    def take(self, region: str, asks: Sequence[Ask], now: float) -> Taken:
        with self._lock:
            after, taken = bucket.take(self._buckets.get(region, Bucket(at=now)), asks, now)
            if taken != Taken(0, 0, taken.next_at):
                self._buckets[region] = after
            return taken
