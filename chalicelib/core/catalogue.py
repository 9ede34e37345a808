"""What an instance type has, what of it jobs may reserve, and what it costs.

Theory of operation. The types that this release knows are one text (`catalogue_rows.py`, written by `spillway offerings refresh` and
by `bench.catalogue`, never by hand), a line for each family. A line is read when somebody first asks for a type of its family: a pass
over a pool reads one or two of them, so a cold start pays for none of the others. A type that EC2 has and this release does not
know is a runtime setting (`PoolSpec.types`): every function here that takes a spec looks there first.

Prices are EC2's list prices on demand (Linux, shared tenancy, USD an hour), of the regions in `PRICED_REGIONS`. In any other region
the price of the first one stands in for it: `price_region` says whose price it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from chalicelib.core import catalogue_rows
from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec

HOST_OVERHEAD_MIB = 384  # system services, the agent, and what the kernel needs however small the machine is
HOST_OVERHEAD_SHARE = (
    0.05  # of the memory that EC2 names, more of it: the hypervisor's part and the kernel's page tables
)
ARCHS = ("x86_64", "arm64")
PRICED_REGIONS: Mapping[str, str] = catalogue_rows.REGIONS  # region → the day of its prices
AS_OF: str = max(PRICED_REGIONS.values())  # when the list of types was last looked at


@dataclass(frozen=True, slots=True)
class InstanceType:
    """`price_usd_h` is the first of `prices`, which are by region. `speed`: of one vCPU while all of them work, 1.0 is a c7i's."""

    vcpus: int
    memory_mib: int
    price_usd_h: float
    arch: str = "x86_64"
    cores: int = 0  # physical; a vCPU is half of one where the processor runs two threads on each. 0: unknown
    clock_ghz: float = 0.0
    speed: float = 0.0  # 0.0: unknown
    speed_measured: bool = False  # else it is that of another family with the same processor
    burstable: bool = False  # full speed only while its CPU credits last
    current: bool = True  # EC2 calls it current generation
    spot: bool = True  # may be had as spot
    prices: Mapping[str, float] = field(default_factory=dict)

    @property
    def memory_for_jobs_mib(self) -> int:
        """What jobs may reserve of `memory_mib`. A machine sees less than EC2 names: 3.5 % less with 1 TiB, 6 % with 8 GiB, 10 % with 4 GiB
        (what Kubernetes nodes on EC2 report as their capacity); services and the agent need some of that, too."""
        return self.memory_mib - HOST_OVERHEAD_MIB - int(HOST_OVERHEAD_SHARE * self.memory_mib)

    def price_in(self, region: str) -> float:
        """USD an hour on demand there, or the first region's where that is not known."""
        return self.prices.get(region, self.price_usd_h)


class Types(Mapping[str, InstanceType]):
    """Name → type, each family read when it is first asked for."""

    def __init__(self, text: str, regions: tuple[str, ...]) -> None:
        self._text = text
        self._regions = regions
        self._lines: dict[str, str] = {}
        self._read: dict[str, dict[str, InstanceType]] = {}

    def __getitem__(self, name: str) -> InstanceType:
        return self._family(name.partition(".")[0])[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._family(name.partition(".")[0])

    def __iter__(self) -> Iterator[str]:
        for family in self._families():
            yield from self._family(family)

    def __len__(self) -> int:
        return sum(len(self._family(family)) for family in self._families())

    def _families(self) -> Mapping[str, str]:
        if not self._lines:
            lines = self._text.replace("\n ", " ").splitlines()
            self._lines = {line.partition(" ")[0]: line for line in lines if line}
        return self._lines

    def _family(self, family: str) -> dict[str, InstanceType]:
        if family not in self._read:
            line = self._families().get(family)
            if line is None:
                return {}
            self._read[family] = dict(_sizes(line, self._regions))
        return self._read[family]


def _sizes(line: str, regions: tuple[str, ...]) -> Iterator[tuple[str, InstanceType]]:
    """`c7i x86_64 2 3.2 100 - large:2:4:0.08925 …`: family, architecture, threads a core, GHz, speed in hundredths, flags; then for
    each size its name, vCPUs, GiB, USD an hour in each region ("/" between, "-" where it is not sold), and its cores where they are
    not vCPUs ÷ threads.

    Flags: `b` burstable, `p` previous generation, `o` on demand only (of one size: "!" behind its name), `e` speed taken from another
    family; `-` none.
    """
    family, arch, threads, clock, speed, flags, *sizes = line.split()
    for size in sizes:
        name, vcpus, gib, usd_h, *cores = size.split(":")
        on_demand_only = "o" in flags or name.endswith("!")
        prices = {r: float(p) for r, p in zip(regions, usd_h.split("/"), strict=False) if p != "-"}
        yield (
            f"{family}.{name.removesuffix('!')}",
            InstanceType(
                vcpus=int(vcpus),
                memory_mib=round(float(gib) * 1024),
                price_usd_h=next(iter(prices.values())),
                arch=arch,
                cores=int(cores[0]) if cores else int(vcpus) // int(threads),
                clock_ghz=float(clock),
                speed=int(speed) / 100,
                speed_measured=speed != "0" and "e" not in flags,
                burstable="b" in flags,
                current="p" not in flags,
                spot=not on_demand_only,
                prices=prices,
            ),
        )


_UNKNOWN = InstanceType(vcpus=0, memory_mib=0, price_usd_h=0.0)
TYPES: Mapping[str, InstanceType] = Types(catalogue_rows.TEXT, tuple(PRICED_REGIONS))


@dataclass(frozen=True, slots=True)
class Capacity:
    """What jobs may reserve of one host: cores, MiB, slots."""

    cpu: float
    memory_mib: int
    slots: int


def type_of(name: str, spec: PoolSpec | None = None) -> InstanceType | None:
    """What is known of a type: what the stage or the pool says of it (`spec.types`), else this release; None: nothing."""
    if spec is not None and (said := spec.types.get(name)) is not None:
        return replace(
            TYPES.get(name, _UNKNOWN),
            vcpus=int(said["vcpus"]),
            memory_mib=int(said["memory_mib"]),
            price_usd_h=float(said["price_usd_h"]),
            arch=str(said.get("arch", "x86_64")),
            prices={},  # in every region what was said
        )
    return TYPES.get(name)


def knows(offering: Offering, spec: PoolSpec) -> bool:
    """Whether a host of `offering` can be planned with."""
    return type_of(offering.instance_type, spec) is not None


def capacity(offering: Offering, spec: PoolSpec) -> Capacity:
    """What a host of `offering` offers to jobs in this pool; KeyError for a type that is not known."""
    kind = _type(offering, spec)
    return Capacity(cpu=float(kind.vcpus), memory_mib=kind.memory_for_jobs_mib, slots=spec.slots_per_host or kind.vcpus)


def price_usd_h(offering: Offering, spec: PoolSpec | None = None) -> float:
    """The list price of a host of `offering`, on demand: its region's where it is known, else that of `price_region`. Spot costs less.

    KeyError for a type that is not known.
    """
    return _type(offering, spec).price_in(offering.region)


def price_region(offering: Offering, spec: PoolSpec | None = None) -> str:
    """The region whose price `price_usd_h` gives; what was said of a type (`spec.types`) counts for every region. KeyError as there."""
    prices = _type(offering, spec).prices
    return offering.region if offering.region in prices or not prices else next(iter(prices))


def _type(offering: Offering, spec: PoolSpec | None) -> InstanceType:
    kind = type_of(offering.instance_type, spec)
    if kind is None:
        raise KeyError(offering.instance_type)
    return kind
