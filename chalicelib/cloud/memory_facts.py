"""What EC2 would say of a pool's things, in memory.

Every region is enabled and bootstrapped and sells every type, until a test says otherwise; there are no images but the stage's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.cloud.memory_calls import Calls
from chalicelib.core.catalogue import TYPES
from chalicelib.core.pool_checks import Template
from chalicelib.core.spot_history import Change
from chalicelib.errors import RegionRefused

STAGE_IMAGE = "ami-00000000000000001"
SPOT_SHARE = 0.4  # of the on-demand price


@dataclass(slots=True)
class MemoryFacts:
    """The fake behind `ports.Facts`."""

    calls: Calls
    stage: str = "test"
    images: dict[str, str] = field(
        default_factory=lambda: {STAGE_IMAGE: "x86_64"}
    )  # image → architecture, in every region
    templates: dict[str, str] = field(default_factory=dict)  # "name" or "name:version" → image, in every region
    template_subnets: dict[str, str] = field(default_factory=dict)  # as `templates`, "" for the stage's own → subnet
    subnets: dict[str, str] = field(default_factory=dict)  # subnet → zone
    foreign: set[str] = field(default_factory=set)  # names of templates without the stage's tag
    closed: set[str] = field(default_factory=set)  # regions that this account has not enabled
    bare: set[str] = field(default_factory=set)  # regions without the stage's launch template
    unsold: set[tuple[str, str]] = field(default_factory=set)  # (region or zone, type)
    spot: dict[tuple[str, str], float] = field(default_factory=dict)  # (zone, type) → USD an hour

    def template(self, region: str, template: str | None) -> Template | None:
        with self.calls.call("ec2.DescribeLaunchTemplateVersions", region=region, template=template):
            self._open(region)
            if template is None:
                return None if region in self.bare else Template(STAGE_IMAGE, self.template_subnets.get("", ""))
            if template not in self.templates:
                return None
            return Template(self.templates[template], self.template_subnets.get(template, ""))

    def subnet_zone(self, region: str, subnet: str) -> str | None:
        with self.calls.call("ec2.DescribeSubnets", region=region, subnet=subnet):
            self._open(region)
            return self.subnets.get(subnet)

    def template_is_ours(self, region: str, template: str) -> bool:
        with self.calls.call("ec2.DescribeLaunchTemplates", region=region, template=template):
            self._open(region)
            return template.partition(":")[0] not in self.foreign

    def image_arch(self, region: str, image: str) -> str | None:
        with self.calls.call("ec2.DescribeImages", region=region, image=image):
            self._open(region)
            return self.images.get(image)

    def zones(self, region: str, types: Sequence[str]) -> Mapping[str, frozenset[str]]:
        with self.calls.call("ec2.DescribeInstanceTypeOfferings", region=region, types=tuple(types)):
            self._open(region)
            return {name: frozenset(self._zones(region, name)) for name in types}

    def spot_prices(self, region: str, types: Sequence[str], at: float) -> Mapping[str, Mapping[str, float]]:
        with self.calls.call("ec2.DescribeSpotPriceHistory", region=region, types=tuple(types), at=at):
            self._open(region)
            return {
                name: {
                    zone: self.spot.get((zone, name), TYPES[name].price_usd_h * SPOT_SHARE)
                    for zone in self._zones(region, name)
                    if name in TYPES
                }
                for name in types
            }

    def spot_history(self, region: str, types: Sequence[str], begin: float, end: float) -> list[Change]:
        """Prices that never changed; the request is counted as EC2's one operation."""
        return [
            Change(begin, zone, name, usd_h)
            for name, zones in self.spot_prices(region, types, end).items()
            for zone, usd_h in zones.items()
        ]

    def _open(self, region: str) -> None:
        if region in self.closed:
            raise RegionRefused("AuthFailure: AWS was not able to validate the provided access credentials")

    def _zones(self, region: str, name: str) -> list[str]:
        if (region, name) in self.unsold:
            return []
        return [zone for zone in (f"{region}{letter}" for letter in "abc") if (zone, name) not in self.unsold]
