"""The wakes queue's handler: a pass, whatever happens, is acknowledged.

A message that came back would block its pool's group until it is visible again; the tick looks at every pool each minute
anyway. So a pass that fails is recorded and told, not repeated.
"""

from __future__ import annotations

import json

from chalicelib.control import reconcile_pool
from chalicelib.control.notices import notify
from chalicelib.telemetry import log, metrics
from chalicelib.wiring import Plane


def receive(plane: Plane, body: str) -> None:
    """One wake message."""
    pool = ""
    try:
        pool = json.loads(body)["pool"]
        reconcile_pool.run(plane, pool)
    except Exception as error:  # the one place where everything is caught: see above
        log.exception("a pass failed", extra={"pool": pool})
        metrics.add_metric(name="PassFailed", unit="Count", value=1)
        notify(
            plane,
            "pass_failed",
            "error",
            subject=pool,
            reason=f"a look at pool {pool} failed and is tried again by the next tick: {type(error).__name__}: {error}",
            pool=pool,
        )
