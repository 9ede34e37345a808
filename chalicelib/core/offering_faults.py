"""What is wrong with a pool's offerings, as far as that can be known without asking EC2 (what EC2 must be asked is in `pool_checks.py`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from chalicelib.core import catalogue
from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec
from chalicelib.core.regions import REGIONS
from chalicelib.errors import Fault

NEAR_MAX = 3
SIZES_MAX = 14  # of one family in a sentence
MARKETS = ("spot", "on_demand")
LIMIT_MIN_USD_H = 0.001  # RunInstances answers InvalidParameterValue to a MaxPrice that is not above it

_TYPE = re.compile(r"[a-z0-9-]{2,20}\.[a-z0-9-]{2,20}")


def faults(spec: PoolSpec) -> Iterator[Fault]:
    """What is not there, limits that EC2 never takes, the same twice, two architectures for one image."""
    for index, offering in enumerate(spec.offerings):
        for field, message in _of_one(offering, spec):
            yield Fault(f"offerings[{index}].{field}", message)
        first = spec.offerings.index(offering)
        if first < index:
            yield Fault(f"offerings[{index}]", f"is the same as offerings[{first}]: leave one of them out")
    yield from _mixed(spec)
    if spec.capacity == "asg":
        yield from _limits(spec)


def _of_one(offering: Offering, spec: PoolSpec) -> Iterator[tuple[str, str]]:
    """(field, what is wrong with it)."""
    name, region, zone, limit = offering.instance_type, offering.region, offering.zone, offering.max_price_usd_h
    kind = catalogue.type_of(name, spec)
    if kind is None:
        yield "instance_type", unknown(offering, spec)
    if region not in REGIONS:
        yield "region", unknown_region(region)
    elif zone is not None and not _is_zone(zone, region):
        yield "zone", f"{zone!r} is no zone of {region}: they are named {region}a, {region}b and so on"
    if offering.market not in MARKETS:
        yield "market", f"{offering.market!r} must be spot or on_demand"
    elif offering.market == "spot" and kind is not None and not kind.spot:
        yield "market", f"{name} is not to be had as spot; only on_demand"
    elif offering.market == "spot" and limit is not None and limit <= LIMIT_MIN_USD_H:
        yield "max_price_usd_h", f"is {limit:g}: EC2 takes no limit that is not above {LIMIT_MIN_USD_H:g} USD an hour"


def unknown_region(region: str) -> str:
    """What to say of a region that is not known."""
    said = region.strip().lower()
    if said[:-1] in REGIONS and said[-1].isalpha():
        return f"{region!r} is a zone: its region is {said[:-1]}, and `zone` may say {said}"
    near = get_close_matches(said, sorted(REGIONS), n=1)
    return f"AWS has no region {region!r}" + (f"; did you mean {near[0]}?" if near else "")


def _is_zone(zone: str, region: str) -> bool:
    """`us-east-1a`, or a local one such as `us-east-1-bos-1a`."""
    return re.fullmatch(f"{re.escape(region)}(?:-[a-z0-9-]+)?[a-z]", zone) is not None


def warnings(spec: PoolSpec) -> Iterator[Fault]:
    """What will not do what it looks like, but harms nobody."""
    for index, offering in enumerate(spec.offerings):
        limit, field = offering.max_price_usd_h, f"offerings[{index}].max_price_usd_h"
        if limit is None or not catalogue.knows(offering, spec):
            continue
        price, of = catalogue.price_usd_h(offering, spec), catalogue.price_region(offering, spec)
        where = "" if of == offering.region else f" (the price of {of}; that of {offering.region} is not known here)"
        if offering.market != "spot":
            yield Fault(field, "is for spot: on demand there is only the list price, and this limit does nothing")
        elif limit > price:
            yield Fault(
                field,
                f"is {limit:g}, above the on-demand price of {offering.instance_type}, {price:g} USD an hour{where}: spot never costs "
                "more than on demand, so this limit does nothing",
            )


def unknown(offering: Offering, spec: PoolSpec) -> str:
    """What to say of a type that is not known: the nearest ones, not all of them, and how a newer one is made known."""
    name = offering.instance_type.strip().lower()
    family, _, size = name.partition(".")
    sizes = [known.partition(".")[2] for known in catalogue.TYPES if known.startswith(f"{family}.")]
    if near := get_close_matches(size, sizes, n=1, cutoff=0.75) if size else []:
        hint = f"did you mean {family}.{near[0]}?"
    elif sizes:
        hint = f"{family} has {', '.join(sizes[:SIZES_MAX])}{' …' if len(sizes) > SIZES_MAX else ''}."
    else:
        found = get_close_matches(name, [*spec.types, *catalogue.TYPES], n=NEAR_MAX, cutoff=0.7)
        hint = f"near: {', '.join(found)}." if found else "`spillway offerings` lists what there is."
    said = f"{offering.instance_type!r} is not known; {hint}"
    if not _TYPE.fullmatch(name) or name in catalogue.TYPES or name in spec.types:
        return said
    return (
        f"{said} One that is newer than this release (its list is of {catalogue.AS_OF}) is made known by "
        f"`spillway offerings add {name} --region {offering.region}`"
    )


def _mixed(spec: PoolSpec) -> Iterator[Fault]:
    """A pool has one image, and an image one architecture."""
    first: tuple[str, str] | None = None
    for index, offering in enumerate(spec.offerings):
        kind = catalogue.type_of(offering.instance_type, spec)
        if kind is None:
            continue
        if first is None:
            first = (offering.instance_type, kind.arch)
        elif kind.arch != first[1]:
            yield Fault(
                f"offerings[{index}].instance_type",
                f"{offering.instance_type} is {kind.arch}, but {first[0]} is {first[1]}: a pool's hosts boot one image, and no image "
                "boots both; make a pool for each architecture",
            )


def _limits(spec: PoolSpec) -> Iterator[Fault]:
    """An Auto Scaling group has one limit for whatever it buys."""
    first: dict[str, tuple[int, float | None]] = {}
    for index, offering in enumerate(spec.offerings):
        limit = offering.max_price_usd_h
        if offering.market == "spot" and first.setdefault(offering.region, (index, limit))[1] != limit:
            other, its = first[offering.region]
            yield Fault(
                f"offerings[{index}].max_price_usd_h",
                f"is {_usd(limit)}, but that of offerings[{other}] is {_usd(its)}: the spot group of {offering.region} has one limit for "
                "all its types (capacity is asg); say the same for all of them",
            )


def _usd(limit: float | None) -> str:
    return "not said" if limit is None else f"{limit:g}"
