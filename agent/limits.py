"""Resource limits set in the child just before exec: the second fence behind control groups, the first where there are none."""

from __future__ import annotations

import math
import os
import resource
from typing import NamedTuple, Sequence

CPU_GRACE_S = 5


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
        resource.setrlimit(kind, (lowest, lowest))
