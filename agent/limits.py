"""Resource limits set in the child just before exec: the second fence behind control groups, the first where there are none."""

from __future__ import annotations

import math
import os
import resource
from typing import Container, NamedTuple, Sequence

from agent.cgroups import Use
from agent.manifest import Assignment, Settings

CPU_GRACE_S = 5
SANDBOX_PROCESSES = 4  # the minder's and bubblewrap's own


class Allowed(NamedTuple):
    """What an attempt may use. `cpu_s` of processor time; 0: as much as fits into `timeout_s`."""

    timeout_s: float
    cpu_s: float
    memory_mib: int
    output_mib: int
    file_bytes: int
    disk_bytes: int
    processes_max: int


def allowed(assignment: Assignment, settings: Settings) -> Allowed:
    """What it asks for itself, else what its pool lets every one have. No file is larger than all of them may be."""
    disk = assignment.disk_mib << 20 or settings.work_limit_bytes
    return Allowed(
        timeout_s=assignment.timeout_s,
        cpu_s=assignment.cpu_s,
        memory_mib=assignment.memory_mib,
        output_mib=assignment.output_mib,
        file_bytes=min(assignment.file_mib << 20 or disk, disk),
        disk_bytes=disk,
        processes_max=assignment.processes_max or settings.processes_max,
    )


def outgrown(allowed: Allowed, use: Use, printed_bytes: int) -> str:
    """Which limit has been exceeded that nothing but a look shows; "" while none has."""
    if use.pids_refused > 0:
        return "processes"
    if 0 < allowed.cpu_s <= use.cpu_s:
        return "cpu"
    return "output" if printed_bytes > allowed.output_mib << 20 else ""


def limits(allowed: Allowed, holds: Container[str], cores: int, others: int = 0) -> "Limits":
    """What each of its processes is limited to, beside what its control group `holds` of all of them. `others`: processes and threads
    of whom it runs as that are none of its own, and are counted with them."""
    return Limits(
        file_bytes=allowed.file_bytes,
        cpu_s=allowed.cpu_s or allowed.timeout_s * cores,
        memory_bytes=0 if "memory" in holds else allowed.memory_mib << 20,
        processes=0 if "pids" in holds else allowed.processes_max + (others and others + SANDBOX_PROCESSES),
    )


class Limits(NamedTuple):
    """`memory_bytes` and `processes` are 0 where a control group holds them: RLIMIT_AS breaks honest programs (Java, Go)."""

    file_bytes: int
    cpu_s: float
    memory_bytes: int
    processes: int

    def pairs(self) -> list[tuple[int, int]]:
        """(resource, value) to be set."""
        found = [
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, self.file_bytes),
            (resource.RLIMIT_CPU, math.ceil(self.cpu_s) + CPU_GRACE_S),
            (resource.RLIMIT_NOFILE, 4096),
        ]
        if self.memory_bytes:
            found.append((resource.RLIMIT_AS, self.memory_bytes))
        if self.processes:
            found.append((resource.RLIMIT_NPROC, self.processes))
        return found


def enter(doors: Sequence[int], pairs: Sequence[tuple[int, int]]) -> None:
    """In the child, between fork and exec: into the groups, then under the limits. A lower inherited limit stays."""
    for door in doors:
        os.write(door, b"0")
    for kind, value in pairs:
        hard = resource.getrlimit(kind)[1]
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Of processor time a signal of its own tells, which KILL follows.
        most = lowest + 1 if kind == resource.RLIMIT_CPU and not 0 <= hard <= lowest else lowest
        resource.setrlimit(kind, (lowest, most))
