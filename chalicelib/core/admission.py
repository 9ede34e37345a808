"""Whether a pool can ever run a job: told at submit, by field, instead of letting it wait for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator

from chalicelib.core import adapters
from chalicelib.core.catalogue import Capacity, capacity, knows
from chalicelib.core.constraint import Constraint, matches
from chalicelib.core.host import Offering
from chalicelib.core.job_spec import FOLDER, Adapter, Input, Install, JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import Fault

IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}\Z")
IMAGE_LIKE = "prairielearn/grader-python:latest or ghcr.io/course/grader@sha256:…"


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
    yield from _image(spec, pool)
    if pool.sandbox == "none" and spec.folder != FOLDER:
        yield Fault("folder", f"pool {spec.pool} runs without a sandbox, where no folder can be shown elsewhere")
    if spec.hosts > 1:
        yield from _several(spec, pool)
    if spec.install is not None:
        yield from _install_faults(spec.install, spec, pool)
    must = Constraint(spec.instance_types, spec.market or "")
    offered = [o for o in pool.offerings if knows(o, pool)]
    sizes = [capacity(o, pool) for o in offered if must.takes(o)]
    if offered and not sizes:
        yield from _not_offered(spec, offered)
    elif not any(_fits(spec, size) for size in sizes):
        yield from _too_large(spec, sizes, f" that is {must}" if str(must) else "")


def _image(spec: JobSpec, pool: PoolSpec) -> Iterator[Fault]:
    if pool.sandbox == "docker":
        if spec.image is None and pool.container_image is None:
            yield Fault(
                "image",
                f"is missing: in pool {spec.pool} every command runs in a container, and it has no image for those that name none "
                "(container_image)",
            )
        if spec.image is not None and IMAGE.match(spec.image) is None:
            yield Fault("image", f"is {spec.image}, which no registry has: an image is called like {IMAGE_LIKE}")
        return
    if spec.image is not None and pool.images == "refuse":
        yield Fault(
            "image",
            f"is {spec.image}, but commands run on the hosts of pool {spec.pool} as they are, in no container; an operator may say "
            "sandbox=docker, or, where their machine image is made from that image, images=ignore",
        )


def _several(spec: JobSpec, pool: PoolSpec) -> Iterator[Fault]:
    """Why a pool could never give a job several hosts at once."""
    if pool.capacity == "asg":
        yield Fault(
            "hosts",
            f"is {spec.hosts}; the hosts of pool {spec.pool} come from Auto Scaling groups, which give them one by one; take "
            "a pool with capacity ec2",
        )
    if spec.hosts > pool.hosts_max:
        yield Fault("hosts", f"is {spec.hosts}; pool {spec.pool} may have {pool.hosts_max} at a time (hosts_max)")
    if spec.adapter != Adapter.COMMAND:
        yield Fault(
            "adapter", f"is {spec.adapter}, whose graders run on one host; with hosts {spec.hosts} it must be command"
        )
    if spec.checkpoint is not None:
        yield Fault(
            "checkpoint", f"cannot be had with hosts {spec.hosts}: one host's files are not the state of all of them"
        )


def _install_faults(install: Install, spec: JobSpec, pool: PoolSpec) -> Iterator[Fault]:
    """Why no host of the pool could run its install, or why that would be of no use."""
    if pool.sandbox == "docker":
        if install.path and install.path == adapters.setup_of(spec.adapter):
            return  # left out there: the grader's image was made by it
        yield Fault(
            "install",
            f"is run on the host, and commands of pool {spec.pool} run in containers, which see nothing of it: build it into the image",
        )
    if install.path and not any(_may_hold(one, install.path) for one in spec.inputs):
        yield Fault("install.path", f"is {install.path}, which none of its inputs is or could hold")


def _may_hold(one: Input, path: str) -> bool:
    """Whether the file `path` may come with an input: it is the file itself, or an archive or a repository that is put above it."""
    own, wanted = _parts(one.path), _parts(path)
    if one.git is not None or one.unpack:
        return wanted[: len(own)] == own and wanted != own
    return wanted == own


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _fits(spec: JobSpec, size: Capacity) -> bool:
    return spec.cpu <= size.cpu and spec.memory_mib <= size.memory_mib and spec.slots <= size.slots


def _not_offered(spec: JobSpec, offered: list[Offering]) -> Iterator[Fault]:
    """What of the types and the market is asked for, and no offering of the pool is."""
    has = f"pool {spec.pool} offers {', '.join(dict.fromkeys(_name(o) for o in offered))}"
    single = False
    if spec.instance_types and not any(matches(o.instance_type, spec.instance_types) for o in offered):
        single = True
        yield Fault("instance_types", f"no offering matches {' or '.join(spec.instance_types)}; {has}")
    if spec.market and all(o.market != spec.market for o in offered):
        single = True
        yield Fault("market", f"no offering is {spec.market}; {has}")
    if not single:
        yield Fault("instance_types", f"no offering that matches is {spec.market}; {has}")


def _name(offering: Offering) -> str:
    return f"{offering.instance_type} ({'spot' if offering.market == 'spot' else 'on demand'})"


def _too_large(spec: JobSpec, sizes: list[Capacity], kind: str) -> Iterator[Fault]:
    most = Capacity(
        cpu=max((s.cpu for s in sizes), default=0.0),
        memory_mib=max((s.memory_mib for s in sizes), default=0),
        slots=max((s.slots for s in sizes), default=0),
    )
    of = f"any offering of pool {spec.pool}{kind} has at most"
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
        yield Fault("cpu", f"no single offering of pool {spec.pool}{kind} has this much cpu, memory and slots together")
