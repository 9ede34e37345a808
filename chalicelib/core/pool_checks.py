"""What must be asked of EC2 before a pool is written, and what its answers mean.

Theory of operation. A pool names things that only EC2 knows: an image, a launch template, regions, prices. `questions` says what of it has
changed (a pool whose linger_s changes asks nothing), one question for each region; `control/pool_checks.py` asks; `faults` turns the
answers into sentences. What EC2 did not answer is None here and is no fault: an operator must be able to change a pool while EC2, or a
region, is having a bad day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from chalicelib.core import catalogue
from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec
from chalicelib.core.regions import REGIONS
from chalicelib.errors import Fault

APART = ("cn-", "us-gov-")  # regions that no account of the others can enable


@dataclass(frozen=True, slots=True)
class Question:
    """All that is to be asked in one region. `offerings`: with their places in the pool's list."""

    region: str
    offerings: tuple[tuple[int, Offering], ...]
    image: str | None
    template: str | None  # the pool's own; None: the stage's

    @property
    def types(self) -> tuple[str, ...]:
        return tuple(sorted({offering.instance_type for _, offering in self.offerings}))

    @property
    def limited(self) -> tuple[str, ...]:
        """Types whose spot price matters, because it is limited."""
        return tuple(
            sorted({o.instance_type for _, o in self.offerings if o.market == "spot" and o.max_price_usd_h is not None})
        )


@dataclass(frozen=True, slots=True)
class Template:
    """What a launch template says that a pool's offerings must go with; "" where it says nothing."""

    image: str = ""
    subnet: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What EC2 said; None where it was not asked or did not answer.

    `refused`: EC2's words, where it takes no credentials of this account in the region. `template_ours`: whether the stage's functions
    may use the pool's own. `zones`: type → zones that sell it. `spot`: type → zone → USD an hour.
    """

    refused: str | None = None
    template_found: bool | None = None
    template_ours: bool | None = None
    template: Template = Template()
    subnet_zone: str | None = None  # of the template's subnet; "" there is no such subnet
    image_arch: str | None = None  # "" there is no such image
    zones: Mapping[str, frozenset[str]] | None = None
    spot: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def questions(after: PoolSpec, before: PoolSpec | None) -> tuple[Question, ...]:
    """What to ask because of a change; `before` None: everything."""
    there = {} if before is None else {q.region: q for q in _all(before)}
    return tuple(q for q in _all(after) if q != there.get(q.region))


def faults(question: Question, said: Answers, spec: PoolSpec, stage: str) -> Iterator[Fault]:
    """What is wrong, by the field that must be changed. The first thing that is wrong with a region hides the rest of it."""
    first = question.offerings[0][0]
    region = question.region
    if said.refused is not None:
        yield Fault(
            f"offerings[{first}].region",
            f"EC2 in {region} takes no credentials of this account ({said.refused}): {_way_in(region, stage)}",
        )
        return
    if said.template_found is False:
        yield _no_template(question, stage)
        return
    if said.template_ours is False:
        yield Fault(
            "launch_template",
            f"{question.template} in {region} does not carry the tag spillway:stage={stage}, so EC2 would refuse each launch: "
            "tag it (the template itself, not what it launches)",
        )
    image = question.image or said.template.image
    if said.image_arch == "":
        yield _no_image(question, image, stage)
    elif said.template_found and not image and question.template is not None:
        yield Fault(
            "launch_template",
            f"{question.template} in {region} names no image, and neither does the pool: say image=ami-…",
        )
    if said.subnet_zone == "":
        named = f"there is no {said.template.subnet} in {region}, which the launch template puts hosts into"
        yield Fault("launch_template" if question.template is not None else f"offerings[{first}].region", named)
    for index, offering in question.offerings:
        yield from _of_offering(index, offering, said, image, spec)


def _way_in(region: str, stage: str) -> str:
    if region.startswith(APART):
        return "it belongs to a part of AWS with accounts of its own, so name another region"
    return f"enable the region for the account, then run `spillway bootstrap --stage {stage} --host-region {region}`"


def _of_offering(index: int, offering: Offering, said: Answers, image: str, spec: PoolSpec) -> Iterator[Fault]:
    at, name = f"offerings[{index}]", offering.instance_type
    kind = catalogue.type_of(name, spec)
    if kind is not None and said.image_arch and said.image_arch != kind.arch:
        yield Fault(
            f"{at}.instance_type",
            f"{name} is {kind.arch}, but {image} is an image for {said.image_arch}: choose a type or an image of the same architecture",
        )
    if said.zones is not None:
        zones = said.zones.get(name, frozenset())
        if not zones:
            yield Fault(f"{at}.instance_type", f"EC2 does not sell {name} in {offering.region}")
        elif (zone := offering.zone or said.subnet_zone) and zone not in zones:
            why = "" if offering.zone else f", where the launch template puts hosts ({said.template.subnet})"
            yield Fault(f"{at}.zone", f"EC2 does not sell {name} in {zone}{why}; it does in {', '.join(sorted(zones))}")
    if offering.zone is not None and said.subnet_zone and offering.zone != said.subnet_zone:
        yield Fault(
            f"{at}.zone",
            f"is {offering.zone}, but the launch template puts hosts into {said.template.subnet}, which is in {said.subnet_zone}: "
            "leave the zone out",
        )


def limits(question: Question, said: Answers, spec: PoolSpec) -> Iterator[tuple[Offering, Fault]]:
    """Limits that are below every spot price now, with their offerings: one that was written on a cheaper day is no mistake of today's."""
    for index, offering in question.offerings:
        prices = said.spot.get(offering.instance_type, {})
        here = {zone: usd_h for zone, usd_h in prices.items() if offering.zone in (None, zone)}
        limit = offering.max_price_usd_h
        if offering.market != "spot" or limit is None or not here:
            continue
        cheapest = min(here, key=lambda zone: (here[zone], zone))
        if limit < here[cheapest]:
            kind = catalogue.type_of(offering.instance_type, spec)
            on_demand = f", {kind.price_in(offering.region):g} on demand" if kind is not None else ""
            yield (
                offering,
                Fault(
                    f"offerings[{index}].max_price_usd_h",
                    f"is {limit:g}, below every spot price of {offering.instance_type} in {offering.zone or offering.region} now: "
                    f"the cheapest is {here[cheapest]:g} USD an hour in {cheapest}{on_demand}",
                ),
            )


def _no_image(question: Question, image: str, stage: str) -> Fault:
    message = f"there is no image {image} in {question.region}, or this account may not use it (yet)"
    if question.image is not None:
        return Fault("image", message)
    if question.template is not None:
        return Fault("launch_template", f"boots {image}, but {message}")
    again = f"the stage's own template boots it; `spillway bootstrap --stage {stage}` looks for the newest again"
    return Fault(f"offerings[{question.offerings[0][0]}].region", f"{message}: {again}")


def _no_template(question: Question, stage: str) -> Fault:
    region = question.region
    if question.template is not None:
        named = "say its name, not its id" if question.template.startswith("lt-") else "copy it there, or name another"
        return Fault("launch_template", f"EC2 in {region} has no launch template {question.template}; {named}")
    return Fault(
        f"offerings[{question.offerings[0][0]}].region",
        f"stage {stage} has no launch template in {region} yet: run `spillway bootstrap --stage {stage} --host-region {region}`, "
        "or name another region in offerings",
    )


def _all(spec: PoolSpec) -> Iterator[Question]:
    regions = dict.fromkeys(offering.region for offering in spec.offerings)
    for region in regions:
        if region in REGIONS:
            here = tuple((i, o) for i, o in enumerate(spec.offerings) if o.region == region)
            yield Question(region, here, spec.image, spec.launch_template)
