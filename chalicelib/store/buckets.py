"""EC2's token buckets in DynamoDB: one item a region, in the registry table."""

from __future__ import annotations

from collections.abc import Sequence

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.core import bucket
from chalicelib.core.bucket import Ask, Bucket, Taken
from chalicelib.store.connection import done
from chalicelib.store.tables import BucketRow

TRIES_MAX = 5  # pools that launch in the same moment; who is overtaken so often waits for the next token


class DynamoBuckets:
    """`ports.Buckets`: hash `bucket`, range the region. A read, and one write on condition that nobody took meanwhile."""

    def __init__(self, row: type[BucketRow]) -> None:
        self._row = row

    def take(self, region: str, asks: Sequence[Ask], now: float) -> Taken:
        for _try in range(TRIES_MAX):
            before = self._get(region)
            after, taken = bucket.take(before or Bucket(at=now), asks, now)
            if taken == Taken(0, 0, taken.next_at) or self._put(region, before, after):
                return taken
        return Taken(0, 0, now + 1 / bucket.REQUESTS.per_s)

    def _get(self, region: str) -> Bucket | None:
        try:
            row = self._row.get("bucket", region, consistent_read=True)
        except self._row.DoesNotExist:
            return None
        return Bucket(requests=row.requests, instances=row.instances, at=row.at, takes=row.takes)

    def _put(self, region: str, before: Bucket | None, after: Bucket) -> bool:
        shape = self._row
        same: Condition = shape.name.does_not_exist() if before is None else shape.takes == before.takes
        changes: list[Action] = [
            shape.requests.set(after.requests),
            shape.instances.set(after.instances),
            shape.at.set(after.at),
            shape.takes.set(after.takes),
        ]
        return done(lambda: shape("bucket", region).update(changes, condition=same))
