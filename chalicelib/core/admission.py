"""Whether a pool can ever run a job: told at submit, by field, instead of letting it wait for ever."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.core.catalogue import Capacity, capacity, knows
from chalicelib.core.job_spec import FOLDER, JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import Fault


def faults(spec: JobSpec, pool: PoolSpec) -> Iterator[Fault]:
    """Every reason why no host of this pool could run this job."""
    if spec.timeout_s > pool.timeout_max_s:
        yield Fault("timeout_s", f"is {spec.timeout_s}; pool {spec.pool} allows at most {pool.timeout_max_s}")
    if pool.sandbox == "none" and spec.untrusted:
        yield Fault(
            "untrusted", f"pool {spec.pool} runs without a sandbox; only jobs with untrusted: false may go there"
        )
    if spec.disk_mib > pool.disk_mib_per_slot * spec.slots:
        yield Fault(
            "disk_mib",
            f"is {spec.disk_mib}; pool {spec.pool} gives {pool.disk_mib_per_slot} for each slot (disk_mib_per_slot), and it asks for "
            f"{spec.slots}",
        )
    if spec.image is not None and pool.images == "refuse":
        yield Fault(
            "image",
            f"is {spec.image}, but commands run on the hosts of pool {spec.pool} as they are, in no container; where their machine image "
            "is made from that image, an operator says images=ignore",
        )
    if pool.sandbox == "none" and spec.folder != FOLDER:
        yield Fault("folder", f"pool {spec.pool} runs without a sandbox, where no folder can be shown elsewhere")
    sizes = [capacity(o, pool) for o in pool.offerings if knows(o, pool)]
    if not any(_fits(spec, size) for size in sizes):
        yield from _too_large(spec, sizes)


def _fits(spec: JobSpec, size: Capacity) -> bool:
    return spec.cpu <= size.cpu and spec.memory_mib <= size.memory_mib and spec.slots <= size.slots


def _too_large(spec: JobSpec, sizes: list[Capacity]) -> Iterator[Fault]:
    most = Capacity(
        cpu=max((s.cpu for s in sizes), default=0.0),
        memory_mib=max((s.memory_mib for s in sizes), default=0),
        slots=max((s.slots for s in sizes), default=0),
    )
    of = f"any offering of pool {spec.pool} has at most"
    single = False
    for field, wanted, limit in (
        ("cpu", spec.cpu, most.cpu),
        ("memory_mib", spec.memory_mib, most.memory_mib),
        ("slots", spec.slots, most.slots),
    ):
        if wanted > limit:
            single = True
            yield Fault(field, f"is {wanted:g}; {of} {limit:g}")
    if not single:
        yield Fault("cpu", f"no single offering of pool {spec.pool} has this much cpu, memory and slots together")
