"""How long jobs take: learned from those that finished, per family, in daily sums that are only ever added to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

ALL = "*"  # all jobs of a pool together
BOOT = "boot"  # from the request to the agent's first word; no family: those begin with "family/"
UNKNOWN_S = 60.0  # what a job is believed to take while nothing is known of it
ENOUGH = 3  # so many finished jobs say something


@dataclass(frozen=True, slots=True)
class Learned:
    """`count` jobs took `total_s` seconds together; `squares_s2` is the sum of their squares."""

    count: int = 0
    total_s: float = 0.0
    squares_s2: float = 0.0

    @property
    def mean_s(self) -> float:
        return self.total_s / self.count if self.count else 0.0

    @property
    def deviation_s(self) -> float:
        """Standard deviation."""
        if not self.count:
            return 0.0
        return math.sqrt(max(0.0, self.squares_s2 / self.count - self.mean_s * self.mean_s))

    def __add__(self, other: Learned) -> Learned:
        return Learned(self.count + other.count, self.total_s + other.total_s, self.squares_s2 + other.squares_s2)


def key_of(family: str) -> str:
    """Under which key a job's duration is learned, beside `ALL`."""
    return f"family/{family}" if family else ALL


def expected_s(family: str, timeout_s: int, learned: Mapping[str, Learned], estimated_s: float | None = None) -> float:
    """How long a job is believed to take: what the operator says, else its family's mean, else the pool's, else a minute.

    Never longer than its timeout.
    """
    if estimated_s is not None:
        return min(estimated_s, timeout_s)
    for key in (key_of(family), ALL):
        known = learned.get(key)
        if known is not None and known.count >= ENOUGH:
            return min(known.mean_s, timeout_s)
    return min(UNKNOWN_S, timeout_s)


def boot_s(learned: Mapping[str, Learned], default_s: float = 45.0) -> float:
    """How long a host needs from the request to its agent's first word."""
    known = learned.get(BOOT)
    return known.mean_s if known is not None and known.count >= ENOUGH else default_s
