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


def refresh(plane: Plane, pools: Iterable[Pool]) -> None:
    """Ask and note for every pool that is due. Raises CloudUnavailable, RegionRefused when all others are noted."""
    now = plane.clock()
    due = {pool.name: _ranked(pool) for pool in pools if now - pool.prospects.at >= EVERY_S}
    wanted: dict[str, set[str]] = {}
    for offerings in due.values():
        for offering in offerings:
            wanted.setdefault(offering.region, set()).add(offering.instance_type)
    if not wanted:
        return
    from chalicelib.core.spot_prospects import prospects  # only where a pool wants it

    changes: list[Change] = []
    silent: dict[str, Exception] = {}
    for region, types in sorted(wanted.items()):
        try:
            changes += plane.cloud.facts.spot_history(region, sorted(types), now - HISTORY_S, now)
        except (CloudUnavailable, RegionRefused) as error:
            silent[region] = error
    for name, offerings in due.items():
        if offerings and not any(offering.region in silent for offering in offerings):
            found = prospects(changes, offerings, now)
            plane.stores.registry.note_prospects(name, Prospects(at=now, usd_h=found))
    if silent:
        raise next(iter(silent.values()))


def _ranked(pool: Pool) -> list[Offering]:
    """Its spot offerings, where there is something to rank."""
    offerings = [offering for offering in pool.spec.offerings if offering.market == SPOT]
    return offerings if pool.spec.rank_spot and len(offerings) > 1 else []
