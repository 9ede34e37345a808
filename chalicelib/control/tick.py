"""Once a minute: wake every pool whatever happened, send the canary, read the dead letters, sweep, keep samples, ask what spot costs.

Each part runs even if another one failed; what failed is told.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from chalicelib.control import dead_letters, delivery, due, fires, prospects, samples, settings
from chalicelib.control.notices import notify
from chalicelib.control.sweep import swept
from chalicelib.control.wake import wake_on_tick
from chalicelib.core.pool import Pool
from chalicelib.telemetry import log, metrics
from chalicelib.wiring import Plane

SWEEPS_S = 30.0  # of the function's 55: one more sweep may follow


def run(plane: Plane) -> None:
    """One tick: what wakes comes first, what may take long comes last.

    Two ticks at a time do no harm: wakes are deduplicated by the minute, repairs are conditional.
    """
    now = plane.clock()
    failures: list[str] = []
    _guard(failures, "canary", lambda: plane.cloud.queues.canary(now))
    pools = plane.stores.registry.pools()
    for pool in pools:
        _guard(failures, f"wake {pool.name}", partial(wake_on_tick, plane, pool.name, now))
    _guard(failures, "settings", lambda: settings.remake_older(plane, pools))
    for pool in pools:
        _guard(failures, f"interest in {pool.name}", partial(settings.count_interest, plane, pool))
    _guard(failures, "agenda", lambda: due.send_timers(plane))
    _guard(failures, "schedules", lambda: fires.mend(plane))
    _guard(failures, "dead letters", lambda: dead_letters.read(plane))
    _guard(failures, "deliveries", lambda: delivery.sweep(plane))
    first = int(now // 60) % len(pools) if pools else 0  # where there are too many for one tick, each has its turn
    for pool in pools[first:] + pools[:first]:
        if plane.clock() - now > SWEEPS_S:
            log.warning("the tick ran out of time", extra={"pool": pool.name})
            break
        _guard(failures, f"sweep {pool.name}", partial(_sweep, plane, pool))
    _guard(failures, "spot prices", lambda: prospects.refresh(plane, pools))
    if failures:
        notify(plane, "tick_failed", "error", subject="tick", reason="; ".join(failures))


def _sweep(plane: Plane, pool: Pool) -> None:
    """Repair what a crash left, and keep what was seen on the way as the minute's sample."""
    seen = swept(plane, pool.name)
    if seen.repairs:
        metrics.add_metric(name="Repairs", unit="Count", value=seen.repairs)
    samples.keep(plane, pool, seen)


def _guard(failures: list[str], what: str, do: Callable[[], None]) -> None:
    try:
        do()
    except Exception as error:  # a tick that dies at its first fault would leave all pools asleep
        log.exception("a part of the tick failed", extra={"part": what})
        failures.append(f"{what}: {type(error).__name__}: {error}")
