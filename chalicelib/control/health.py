"""Whether the parts that everything hangs on answer: the tables, the queues, and the passes that wakes ask for.

The tick wakes every pool each minute, so a pool that nobody has looked at for some minutes has a wake that waits, or is lost: the age of
the oldest one is at most the time since the last look. SQS itself tells that age to CloudWatch only, minutes late.

Anybody may ask, so what was seen is remembered for some seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from chalicelib.core.pool import Pool
from chalicelib.errors import SpillwayError
from chalicelib.wiring import Plane

KEPT_S = 5.0
OLDEST_WAKE_S = 180.0  # three ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was seen of one part; `error`: the sentence that says what is wrong with it."""

    error: str = ""
    pools: int | None = None
    depths: Mapping[str, int] | None = None
    oldest_s: float | None = None

    @property
    def ok(self) -> bool:
        return not self.error


@dataclass(slots=True)
class _Seen:
    pools: list[Pool] = field(default_factory=list)


def check(plane: Plane) -> dict[str, Check]:
    """Part → what was seen of it."""
    return plane.recall.get("health", plane.clock(), KEPT_S, lambda: _checked(plane)) or {}


def _checked(plane: Plane) -> dict[str, Check]:
    seen = _Seen()

    def tables() -> Check:
        seen.pools = plane.stores.registry.pools()
        return Check(pools=len(seen.pools))

    return {
        "tables": _check(tables),
        "queues": _check(lambda: Check(depths=plane.cloud.queues.depths())),
        "wakes": oldest_wake(seen.pools, plane.clock()),
    }


def oldest_wake(pools: list[Pool], now: float) -> Check:
    """How long the pool that waits longest has waited for a pass; a pool that was never looked at is too new to tell."""
    looked = {pool.name: pool.looked_at for pool in pools if pool.looked_at is not None}
    if not looked:
        return Check()
    name, at = min(looked.items(), key=lambda item: item[1])
    seen = Check(oldest_s=max(0.0, now - at))
    if now - at <= OLDEST_WAKE_S:
        return seen
    return replace(
        seen, error=f"nobody has looked at pool {name} for {now - at:.0f} s, though the tick wakes it each minute"
    )


def _check(look: Callable[[], Check]) -> Check:
    try:
        return look()
    except SpillwayError as error:
        return Check(error=str(error))
