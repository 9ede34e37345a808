"""What `spillway offerings` does on an operator's machine: lists the catalogue, writes it anew, describes single types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from chalicelib.core.advice import Advice, advise
from chalicelib.core.advice import Wish as Wish
from chalicelib.core.catalogue import AS_OF, PRICED_REGIONS, TYPES, InstanceType
from chalicelib.core.offering_faults import unknown_region
from chalicelib.core.regions import REGIONS
from infra.catalogue_file import FILE as FILE
from infra.catalogue_file import render
from infra.errors import InfraError
from infra.price_list import PRICING_REGION, asked_prices, described, listed_prices, spot_prices


def listing(wish: Wish, region: str, by: str, now: datetime | None = None) -> dict[str, Any]:
    """The types that do, best first, and whose prices they are. `now`: EC2 is asked for spot prices of that moment. Raises InfraError."""
    _known(region)
    there = {name.partition(".")[0] for name in TYPES}
    for family in wish.families:
        if family not in there:
            near = get_close_matches(family, sorted(there), n=3)
            hint = f"near: {', '.join(near)}" if near else "--family c7i is how one is said"
            raise InfraError(f"The catalogue (of {AS_OF}) has no family {family!r}; {hint}.")
    if now is not None:
        import boto3

        prices, of, as_of = (
            spot_prices(boto3.session.Session(), region, now),
            region,
            now.strftime("%Y-%m-%d %H:%M UTC"),
        )
    else:
        of = region if region in PRICED_REGIONS else next(iter(PRICED_REGIONS))
        as_of = PRICED_REGIONS[of]
        prices = {name: kind.prices[of] for name, kind in TYPES.items() if of in kind.prices}
    found = advise(TYPES, prices, wish, by)
    return {
        "region": region,
        "price_region": of,
        "as_of": as_of,
        "market": wish.market,
        "by": by,
        "slots_per_host": f"vCPUs + {wish.extra_slots}" if wish.extra_slots else "vCPUs",
        "items": [_row(advice) for advice in found],
    }


def _known(region: str) -> None:
    if region not in REGIONS:
        raise InfraError(f"--region: {unknown_region(region)}.")


def _row(advice: Advice) -> dict[str, Any]:
    kind = advice.kind
    return {
        "instance_type": advice.name,
        "arch": kind.arch,
        "vcpus": kind.vcpus,
        "cores": kind.cores,
        "memory_mib": kind.memory_mib,
        "clock_ghz": kind.clock_ghz,
        "speed": kind.speed or None,
        "speed_measured": kind.speed_measured,
        "burstable": kind.burstable,
        "current": kind.current,
        "slots": advice.slots,
        "usd_h": advice.usd_h,
        "usd_slot_h": round(advice.usd_slot_h, 6),
        "usd_work_h": None if advice.usd_work_h is None else round(advice.usd_work_h, 6),
    }


def refreshed(
    known: Mapping[str, InstanceType],
    regions: tuple[str, ...],
    region: str,
    told: Mapping[str, InstanceType],
    prices: Mapping[str, float],
) -> tuple[dict[str, InstanceType], tuple[str, ...]]:
    """The catalogue with what EC2 says of a region, whose prices are replaced or added; types with no price anywhere are left out."""
    named = regions if region in regions else (*regions, region)
    merged: dict[str, InstanceType] = {}
    for name in sorted({*known, *told}):
        kind = told.get(name) or known[name]
        kept = {r: p for r, p in (known[name].prices if name in known else {}).items() if r != region}
        here = {**kept, **({region: prices[name]} if name in told and name in prices else {})}
        by_region = {r: here[r] for r in named if r in here}
        if by_region:
            merged[name] = replace(kind, price_usd_h=next(iter(by_region.values())), prices=by_region)
    return merged, named


def refresh(
    session: Any, region: str, as_of: str, *, price_list: Path | None = None, file: Path = FILE
) -> dict[str, Any]:
    """Write the catalogue's file anew, with the sizes and prices of a region as they are now; what changed. Raises InfraError."""
    _known(region)
    told = described(session.client("ec2", region_name=region))
    if price_list is not None:
        prices = listed_prices(price_list, region)
    else:
        prices = asked_prices(session.client("pricing", region_name=PRICING_REGION), region)
    if not prices:
        raise InfraError(f"AWS's price list gave no price for {region}; nothing was written.")
    types, regions = refreshed(TYPES, tuple(PRICED_REGIONS), region, told, prices)
    days = {**PRICED_REGIONS, region: as_of}
    speeds = {name.partition(".")[0]: (kind.speed, kind.speed_measured) for name, kind in TYPES.items()}
    file.write_text(render(types, days, speeds), encoding="utf-8")
    return {
        "file": str(file),
        "region": region,
        "regions": list(regions),
        "types": len(types),
        "new": sorted(set(types) - set(TYPES)),
        "without_price": sorted(set(told) - set(prices)),
        "prices_changed": sum(
            name in TYPES and TYPES[name].prices.get(region) != kind.prices.get(region) for name, kind in types.items()
        ),
    }


def looked_up(session: Any, region: str, name: str, price_usd_h: float | None = None) -> dict[str, Any]:
    """One type as the runtime setting `types` has it. Raises InfraError.

    `price_usd_h`: what it costs, where the price list shall not be asked.
    """
    _known(region)
    kind = described(session.client("ec2", region_name=region), (name,)).get(name)
    if kind is None:
        raise InfraError(
            f"{name} has a GPU or another accelerator, or neither x86_64 nor arm64: Spillway's image does not run there."
        )
    if price_usd_h is None:
        found = asked_prices(session.client("pricing", region_name=PRICING_REGION), region, name)
        if name not in found:
            raise InfraError(f"AWS's price list has no price of {name} in {region}; say it: --price 0.123")
        price_usd_h = found[name]
    return {"vcpus": kind.vcpus, "memory_mib": kind.memory_mib, "price_usd_h": price_usd_h, "arch": kind.arch}
