"""What an instance type has, what of it jobs may reserve, and where it may stand.

Figures: EC2's published sizes (vCPUs, memory in MiB) and its list price on demand (Linux, us-east-1, USD an hour, July 2026).
"""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec

HOST_OVERHEAD_MIB = 384  # kernel, system services and the agent on Amazon Linux 2023


@dataclass(frozen=True, slots=True)
class InstanceType:
    vcpus: int
    memory_mib: int
    price_usd_h: float


TYPES: dict[str, InstanceType] = {
    "t3.micro": InstanceType(2, 1024, 0.0104),
    "t3.small": InstanceType(2, 2048, 0.0208),
    "t3.medium": InstanceType(2, 4096, 0.0416),
    "t3.large": InstanceType(2, 8192, 0.0832),
    "c5.large": InstanceType(2, 4096, 0.085),
    "c5.xlarge": InstanceType(4, 8192, 0.17),
    "c6i.large": InstanceType(2, 4096, 0.085),
    "c6i.xlarge": InstanceType(4, 8192, 0.17),
    "c6i.2xlarge": InstanceType(8, 16384, 0.34),
    "c7i.large": InstanceType(2, 4096, 0.08925),
    "c7i.xlarge": InstanceType(4, 8192, 0.1785),
    "c7i.2xlarge": InstanceType(8, 16384, 0.357),
    "c7i.4xlarge": InstanceType(16, 32768, 0.714),
    "c7i.8xlarge": InstanceType(32, 65536, 1.428),
    "m5.large": InstanceType(2, 8192, 0.096),
    "m5.xlarge": InstanceType(4, 16384, 0.192),
    "m6i.large": InstanceType(2, 8192, 0.096),
    "m7i.large": InstanceType(2, 8192, 0.1008),
    "m7i.xlarge": InstanceType(4, 16384, 0.2016),
    "m7i.2xlarge": InstanceType(8, 32768, 0.4032),
    "m7i.4xlarge": InstanceType(16, 65536, 0.8064),
    "m7i.8xlarge": InstanceType(32, 131072, 1.6128),
    "r7i.large": InstanceType(2, 16384, 0.1323),
    "r7i.xlarge": InstanceType(4, 32768, 0.2646),
    "r7i.2xlarge": InstanceType(8, 65536, 0.5292),
}

# AWS's, by partition. A launch into a region that does not exist is never answered, so its jobs would wait for that answer for ever.
REGIONS = frozenset(
    [
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-central-1",
        "ca-west-1",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "mx-central-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "cn-north-1",
        "cn-northwest-1",
        "us-gov-east-1",
        "us-gov-west-1",
    ]
)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What jobs may reserve of one host: cores, MiB, slots."""

    cpu: float
    memory_mib: int
    slots: int


def capacity(offering: Offering, spec: PoolSpec) -> Capacity:
    """What a host of `offering` offers to jobs in this pool; KeyError for a type that the catalogue does not have."""
    kind = TYPES[offering.instance_type]
    return Capacity(
        cpu=float(kind.vcpus), memory_mib=kind.memory_mib - HOST_OVERHEAD_MIB, slots=spec.slots_per_host or kind.vcpus
    )


def price_usd_h(offering: Offering) -> float:
    """The list price of a host of `offering`: on demand, in us-east-1. Spot costs less, most other regions a little more.

    KeyError for a type that the catalogue does not have.
    """
    return TYPES[offering.instance_type].price_usd_h
