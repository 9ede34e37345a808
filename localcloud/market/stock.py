"""How many machines there are of an offering, and how many vCPUs the account may run: both until told otherwise without end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from localcloud.gaps.ec2_launch_request import LaunchRequest, Refusal

TAKEN = ("pending", "running", "stopping")  # the states in which an instance takes up capacity and quota


class Taken(Protocol):
    """A machine as far as capacity goes."""

    @property
    def region(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def instance_type(self) -> str: ...
    @property
    def market(self) -> str: ...
    @property
    def state(self) -> str: ...


@dataclass(frozen=True)
class Stock:
    """`instances` at once of the offerings that it means (None means any)."""

    region: str | None
    zone: str | None
    instance_type: str | None
    market: str | None
    instances: int

    def means(self, region: str, zone: str, instance_type: str, market: str) -> bool:
        """Whether an offering is of this stock."""
        own = (self.region, self.zone, self.instance_type, self.market)
        return all(
            mine in (None, theirs) for mine, theirs in zip(own, (region, zone, instance_type, market), strict=True)
        )


class Stocks:
    """The condition `capacity`; `machines()` are all that the embedded cloud knows."""

    kinds: ClassVar[tuple[str, ...]] = ("capacity",)

    def __init__(self, machines: Callable[[], Iterable[Taken]]) -> None:
        self._machines = machines
        self._stocks: tuple[Stock, ...] = ()

    def set(self, kind: str, fields: dict[str, Any]) -> None:
        """Say how many instances of an offering there can be at once; null ends what was said of it. Raises ValueError."""
        instances = fields.pop("instances")
        others = tuple(each for each in self._stocks if _offering(each) != fields)
        if instances is not None:
            others += (Stock(**fields, instances=_whole(instances, "instances")),)
        self._stocks = others

    def clear(self) -> None:
        self._stocks = ()

    def listed(self) -> list[dict[str, Any]]:
        """Each stock with what is left of it."""
        return [
            {"kind": "capacity", **_offering(s), "instances": s.instances, "left": self._left(s)} for s in self._stocks
        ]

    def room(self, region: str, zone: str, instance_type: str, market: str) -> int | None:
        """How many more there are of an offering; None when there is no end."""
        left = [self._left(s) for s in self._stocks if s.means(region, zone, instance_type, market)]
        return min(left, default=None)

    def _left(self, stock: Stock) -> int:
        taken = sum(
            each.state in TAKEN and stock.means(each.region, each.zone, each.instance_type, each.market)
            for each in self._machines()
        )
        return max(0, stock.instances - taken)


class Quotas:
    """The condition `vcpu_quota`: the account's quota of running vCPUs, by region and market.

    A launch whose MaxCount does not fit is refused whole; whoever wants the rest asks for less.
    """

    kinds: ClassVar[tuple[str, ...]] = ("vcpu_quota",)

    def __init__(self, machines: Callable[[], Iterable[Taken]]) -> None:
        self._machines = machines
        self._quotas: dict[tuple[str, str], int] = {}

    def set(self, kind: str, fields: dict[str, Any]) -> None:
        """Set `vcpus` of a region and market; null ends it. Raises ValueError."""
        key = (str(fields["region"]), str(fields["market"]))
        if fields["vcpus"] is None:
            self._quotas.pop(key, None)
        else:
            self._quotas[key] = _whole(fields["vcpus"], "vcpus")

    def clear(self) -> None:
        self._quotas.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Each quota."""
        return [
            {"kind": "vcpu_quota", "region": region, "market": market, "vcpus": vcpus}
            for (region, market), vcpus in self._quotas.items()
        ]

    def refusal(self, request: LaunchRequest) -> Refusal | None:
        """EC2's answer to a launch that is over the quota."""
        quota = self._quotas.get((request.region, request.market))
        if quota is None:
            return None
        here = [
            m for m in self._machines() if m.state in TAKEN and (m.region, m.market) == (request.region, request.market)
        ]
        if sum(vcpus_of(m.instance_type) for m in here) + vcpus_of(request.instance_type) * request.max_count <= quota:
            return None
        if request.market == "spot":
            return Refusal("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        return Refusal(
            "VcpuLimitExceeded",
            f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows for the instance bucket that the "
            "specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment "
            "to this limit.",
        )


def vcpus_of(instance_type: str) -> int:
    """What EC2 counts of a type."""
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    return int(INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"])


def _offering(stock: Stock) -> dict[str, Any]:
    return {
        "instance_type": stock.instance_type,
        "market": stock.market,
        "zone": stock.zone,
        "region": stock.region,
    }


def _whole(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number from 0, or null, not {value!r}.")
    return value
