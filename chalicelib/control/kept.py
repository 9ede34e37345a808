"""How long what is over is remembered."""

from __future__ import annotations

from chalicelib.control.due import known_pool
from chalicelib.core.arrays import Array
from chalicelib.core.job import Job
from chalicelib.core.pool import PoolSpec
from chalicelib.wiring import Plane

ELEMENT_KEPT_S = 90 * 86_400.0  # its array may be open for so long, and reads what came of it at its own end
KEY_KEPT_S = 17 * 86_400.0  # longer than any idempotency key is taken: a row that is gone would be made, and run, again


def kept_until(plane: Plane, record: Job | Array, now: float) -> float:
    """Until when the rows of a job or an array that ends now are kept; its files have a time of their own, by the bucket's
    lifecycle (`HostFilesDays` of the home stack)."""
    pool = known_pool(plane, record.pool)
    until = now + (pool.spec if pool is not None else PoolSpec()).job_ttl_s
    if isinstance(record, Job) and record.array is not None:
        return max(until, now + ELEMENT_KEPT_S)
    return max(until, record.submitted_at + KEY_KEPT_S) if record.spec.idempotency_key else until
