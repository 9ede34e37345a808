"""How long what is over is remembered."""

from __future__ import annotations

from chalicelib.control.due import known_pool
from chalicelib.core.pool import PoolSpec
from chalicelib.wiring import Plane


def kept_until(plane: Plane, pool: str, now: float) -> float:
    """Until when the rows of a job or an array of this pool that ends now are kept; its files have a time of their own, by the bucket's
    lifecycle (`HostFilesDays` of the home stack)."""
    found = known_pool(plane, pool)
    return now + (found.spec if found is not None else PoolSpec()).job_ttl_s
