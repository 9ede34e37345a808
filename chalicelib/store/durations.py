"""Learned durations in DynamoDB: sums for each day and key, only ever added to, in the registry table."""

from __future__ import annotations

from collections.abc import Mapping

from pynamodb.expressions.update import Action

from chalicelib.core.durations import Learned
from chalicelib.store.tables import LearnedRow

DIGITS = 4  # DynamoDB adds in decimal and keeps 38 digits; more than a tenth of a millisecond tells nothing


class DynamoDurations:
    """`ports.Durations`: hash `learned/<pool>`, range `<day>/<key>`."""

    def __init__(self, row: type[LearnedRow]) -> None:
        self._row = row

    def add(self, pool: str, day: str, sums: Mapping[str, Learned], expires_at: float) -> None:
        row = self._row
        for key, sum_ in sums.items():
            changes: list[Action] = [
                row.seen.add(sum_.count),
                row.total_s.add(round(sum_.total_s, DIGITS)),
                row.squares_s2.add(round(sum_.squares_s2, DIGITS)),
                row.expires_at.set(expires_at),
            ]
            row(f"learned/{pool}", f"{day}/{key}").update(changes)

    def of(self, pool: str, since_day: str) -> dict[str, Learned]:
        learned: dict[str, Learned] = {}
        for row in self._row.query(f"learned/{pool}", self._row.name >= since_day):
            key = row.name.partition("/")[2]
            sums = Learned(row.seen, row.total_s, row.squares_s2)
            learned[key] = learned.get(key, Learned()) + sums
        return learned
