"""What spot may cost soon, for the pools that have it rank their spot offerings: asked of EC2 by the tick, kept on the pools' rows.

One question a region, for all pools that are due together: DescribeSpotPriceHistory, a page for each thousand changes. Passes ask EC2
nothing for it. Two ticks at a time ask twice and write the same. A region that does not answer leaves its pools' rows as they are,
and after an hour (`ladder.RANKS_HOLD_S`) such a pool goes by the operator's own order again.
"""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.core.host import Offering
from chalicelib.core.ladder import SPOT
from chalicelib.core.pool import Pool, Prospects
from chalicelib.core.spot_history import Change
from chalicelib.errors import CloudUnavailable, RegionRefused
from chalicelib.wiring import Plane

EVERY_S = 570.0  # nine and a half minutes: every tenth tick
HISTORY_S = 14 * 86_400
TYPES_MAX = 20  # in one tick: each takes a quarter of a second; the pools behind have their turn a minute later


def refresh(plane: Plane, pools: Iterable[Pool]) -> None:
    """Ask and note for the pools that are due, the longest due first. Raises CloudUnavailable, RegionRefused when all others are noted."""
    now = plane.clock()
    due: dict[str, list[Offering]] = {}
    wanted: set[tuple[str, str]] = set()  # region, type
    for pool in sorted(pools, key=lambda pool: pool.prospects.at):
        offerings = _ranked(pool) if now - pool.prospects.at >= EVERY_S else []
        own = {(offering.region, offering.instance_type) for offering in offerings}
        if own and len(wanted | own) <= TYPES_MAX:  # a pool has no more than so many
            due[pool.name] = offerings
            wanted |= own
    if not due:
        return
    from chalicelib.core.spot_prospects import prospects  # only where a pool wants it

    changes: list[Change] = []
    silent: dict[str, Exception] = {}
    for region in sorted({region for region, _ in wanted}):
        types = sorted(name for place, name in wanted if place == region)
        try:
            changes += plane.cloud.facts.spot_history(region, types, now - HISTORY_S, now)
        except (CloudUnavailable, RegionRefused) as error:
            silent[region] = error
    usd_h = prospects(changes, {offering for offerings in due.values() for offering in offerings}, now)
    for name, offerings in due.items():
        if not any(offering.region in silent for offering in offerings):
            told = {offering.key: usd_h[offering.key] for offering in offerings if offering.key in usd_h}
            plane.stores.registry.note_prospects(name, Prospects(at=now, usd_h=told))
    if silent:
        raise next(iter(silent.values()))


def _ranked(pool: Pool) -> list[Offering]:
    """Its spot offerings, where there is something to rank."""
    offerings = [offering for offering in pool.spec.offerings if offering.market == SPOT]
    return offerings if pool.spec.rank_spot and len(offerings) > 1 else []
