"""Shares in DynamoDB: up to which virtual time each owner of a pool has asked, in the registry table."""

from __future__ import annotations

from pynamodb.expressions.condition import Condition

from chalicelib.store.connection import ConditionFailed
from chalicelib.store.tables import ShareRow

KNOWN_MAX = 1000
DIGITS = 4  # DynamoDB adds in decimal and keeps 38 digits; ranks have milliseconds


class DynamoShares:
    """`ports.Shares`: hash `share/<pool>`, range the share's name.

    Two conditional writes exclude each other: one goes on from the row's virtual time, the other starts from the clock. Which one fits
    is guessed from what this process wrote last: one request is usual, two where the guess is wrong, three where another
    process was quicker.
    """

    def __init__(self, row: type[ShareRow]) -> None:
        self._row = row
        self._known: dict[tuple[str, str], float] = {}

    def advance(self, pool: str, share: str, cost: float, *, clock: float, now: float, expires_at: float) -> float:
        cost, clock = round(cost, DIGITS), round(clock, DIGITS)
        goes_on = self._known.get((pool, share), -1.0) >= clock
        for _try in range(3):
            finish = self._write(pool, share, cost, clock, now, expires_at, goes_on=goes_on)
            if finish is not None:
                if len(self._known) >= KNOWN_MAX:
                    self._known.clear()
                self._known[pool, share] = finish
                return finish - cost
            goes_on = not goes_on
        return clock  # three writers were quicker, one after the other: then it goes uncharged

    def _write(
        self, pool: str, share: str, cost: float, clock: float, now: float, expires_at: float, *, goes_on: bool
    ) -> float | None:
        shape = self._row
        row = shape(f"share/{pool}", share)
        condition: Condition
        if goes_on:
            condition = (shape.finish >= clock) & (shape.expires_at >= now)
            change = shape.finish.set(shape.finish + cost)
        else:
            condition = shape.finish.does_not_exist() | (shape.finish < clock) | (shape.expires_at < now)
            change = shape.finish.set(round(clock + cost, DIGITS))
        try:
            row.update([change, shape.expires_at.set(expires_at)], condition=condition)
        except ConditionFailed:
            return None
        return row.finish
