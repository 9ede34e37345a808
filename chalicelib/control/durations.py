"""Learning how long jobs and boots take: sums of a day for each pool and family, kept for a week of looking back.

A ping is learned from only where it moved its row, so a doubled, late or made-up one teaches nothing. The lessons of one invocation
are added up and then written, one UpdateItem for each pool and key. A function that dies between the move and that write loses its
lessons, which is no harm: these are means over many.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from chalicelib.core.durations import ALL, BOOT, Learned, key_of
from chalicelib.core.host import Host
from chalicelib.core.job import Finish, Job
from chalicelib.errors import StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

DAY_S = 86_400.0
LOOK_BACK_DAYS = 7
KEPT_S = 14 * DAY_S
AGE_MAX_S = 30.0
BOOT_MAX_S = 3600.0  # a host that speaks later than that was not booting all the time

TAUGHT = frozenset({"succeeded", "failed", "timed_out"})  # how long a cancelled or broken attempt took says nothing


class Lessons:
    """What the pings of one invocation teach."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, Learned]] = {}

    def finished(self, job: Job, finish: Finish) -> None:
        """An attempt of `job` ended as `finish` says, and its row was moved by that."""
        if finish.outcome not in TAUGHT or finish.started_at is None:
            return
        limit_s = float(job.spec.timeout_s)
        took_s = max(0.0, finish.finished_at - finish.started_at)  # its host's clock: it may have been set back
        took_s = limit_s if finish.outcome == "timed_out" else min(took_s, limit_s)
        for key in {ALL, key_of(job.spec.family or "")}:
            self._add(job.pool, key, took_s)

    def booted(self, host: Host, now: float) -> None:
        """The host's agent said its first word."""
        self._add(host.pool, BOOT, min(max(0.0, now - host.launched_at), BOOT_MAX_S))

    def _add(self, pool: str, key: str, took_s: float) -> None:
        sums = self._sums.setdefault(pool, {})
        sums[key] = sums.get(key, Learned()) + Learned(1, took_s, took_s * took_s)

    def write(self, plane: Plane) -> None:
        """Add all of it to today's sums. Never fails an invocation."""
        now = plane.clock()
        for pool, sums in self._sums.items():
            try:
                plane.stores.durations.add(pool, _day(now), sums, now + KEPT_S)
            except StoreUnavailable as error:
                log.warning("some durations were not learned", extra={"pool": pool, "error": str(error)})
        self._sums.clear()


def learned(plane: Plane, pool: str) -> Mapping[str, Learned]:
    """What is known of a pool's durations: the sums of the last seven days, at most half a minute old."""

    def load() -> Mapping[str, Learned]:
        return plane.stores.durations.of(pool, _day(plane.clock() - (LOOK_BACK_DAYS - 1) * DAY_S))

    return plane.recall.get(f"learned/{pool}", plane.clock(), AGE_MAX_S, load) or {}


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
