"""What a pool does when EC2 says that it gets too many requests: nothing, for a while that doubles each time."""

from __future__ import annotations

from dataclasses import replace

from chalicelib.core.pool import Supply

FIRST_S, MOST_S = 2.0, 120.0
SPREAD = 0.25  # of the wait: pools that were throttled together must not come back together


def throttled(supply: Supply, now: float, chance: float = 0.0) -> Supply:
    """Wait twice as long as last time. `chance`: 0…1, by which the wait is lengthened, up to a quarter."""
    wait_s = min(MOST_S, max(FIRST_S, 2 * supply.backoff_s))
    return replace(supply, backoff_s=wait_s, backoff_until=now + wait_s * (1 + SPREAD * chance))


def answered(supply: Supply) -> Supply:
    """EC2 answered, whatever it said: half as long next time, in the end not at all."""
    if not supply.backoff_s and not supply.backoff_until:
        return supply
    half_s = supply.backoff_s / 2
    return replace(supply, backoff_s=half_s if half_s >= FIRST_S else 0.0, backoff_until=0.0)
