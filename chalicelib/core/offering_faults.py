"""What is wrong with a pool's offerings, as far as that can be known without asking EC2 (what EC2 must be asked is in `pool_checks.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from chalicelib.core import catalogue
from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec
from chalicelib.core.regions import REGIONS
from chalicelib.errors import Fault

NEAR_MAX = 3
SIZES_MAX = 14  # of one family in a sentence


def faults(spec: PoolSpec) -> Iterator[Fault]:
    """Types and regions that are not there, zones of another region, two architectures for one image."""
    for index, offering in enumerate(spec.offerings):
        at = f"offerings[{index}]"
        if not catalogue.knows(offering, spec):
            yield Fault(f"{at}.instance_type", unknown(offering, spec))
        if offering.region not in REGIONS:
            near = get_close_matches(offering.region, sorted(REGIONS), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield Fault(f"{at}.region", f"AWS has no region {offering.region!r}{hint}")
        elif offering.zone is not None and not offering.zone.startswith(offering.region):
            yield Fault(f"{at}.zone", f"{offering.zone} is not in {offering.region}")
        kind = catalogue.type_of(offering.instance_type, spec)
        if kind is not None and offering.market == "spot" and not kind.spot:
            yield Fault(f"{at}.market", f"{offering.instance_type} is not to be had as spot; only on_demand")
    yield from _mixed(spec)


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
    """What to say of a type that is not known: the nearest ones, not all of them."""
    name = offering.instance_type
    family, _, size = name.partition(".")
    sizes = [known.partition(".")[2] for known in catalogue.TYPES if known.startswith(f"{family}.")]
    if near := get_close_matches(size, sizes, n=1, cutoff=0.75) if size else []:
        hint = f"did you mean {family}.{near[0]}?"
    elif sizes:
        hint = f"{family} has {', '.join(sizes[:SIZES_MAX])}{' …' if len(sizes) > SIZES_MAX else ''}"
    else:
        found = get_close_matches(name, [*spec.types, *catalogue.TYPES], n=NEAR_MAX, cutoff=0.7)
        hint = f"near: {', '.join(found)}" if found else "`spillway offerings` lists what there is"
    return (
        f"{name!r} is not known; {hint}. One that is newer than this release (its list is of {catalogue.AS_OF}) is made known by "
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
