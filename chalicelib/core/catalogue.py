"""What an instance type has, and what of it jobs may reserve.

Figures: EC2's published sizes (vCPUs, memory in MiB).
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


TYPES: dict[str, InstanceType] = {
    "t3.micro": InstanceType(2, 1024),
    "t3.small": InstanceType(2, 2048),
    "t3.medium": InstanceType(2, 4096),
    "t3.large": InstanceType(2, 8192),
    "c5.large": InstanceType(2, 4096),
    "c5.xlarge": InstanceType(4, 8192),
    "c6i.large": InstanceType(2, 4096),
    "c6i.xlarge": InstanceType(4, 8192),
    "c6i.2xlarge": InstanceType(8, 16384),
    "c7i.large": InstanceType(2, 4096),
    "c7i.xlarge": InstanceType(4, 8192),
    "c7i.2xlarge": InstanceType(8, 16384),
    "c7i.4xlarge": InstanceType(16, 32768),
    "c7i.8xlarge": InstanceType(32, 65536),
    "m5.large": InstanceType(2, 8192),
    "m5.xlarge": InstanceType(4, 16384),
    "m6i.large": InstanceType(2, 8192),
    "m7i.large": InstanceType(2, 8192),
    "m7i.xlarge": InstanceType(4, 16384),
    "m7i.2xlarge": InstanceType(8, 32768),
    "m7i.4xlarge": InstanceType(16, 65536),
    "m7i.8xlarge": InstanceType(32, 131072),
    "r7i.large": InstanceType(2, 16384),
    "r7i.xlarge": InstanceType(4, 32768),
    "r7i.2xlarge": InstanceType(8, 65536),
}


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
