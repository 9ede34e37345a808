"""What a job asks of the offering of its host, beside room on it: instance types by pattern, spot or on demand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from chalicelib.core.host import Offering


@dataclass(frozen=True, slots=True)
class Constraint:
    """`instance_types`: patterns ("c7i.*", "*.large"), one of which must match; empty: any. `market`: spot | on_demand; empty: either."""

    instance_types: tuple[str, ...] = ()
    market: str = ""

    def takes(self, offering: Offering | None) -> bool:
        """Whether a host of this offering may have the job; of a host without one nothing is known that speaks against it."""
        return offering is None or _takes(self, offering)

    def __str__(self) -> str:
        """`c7i.* or m7i.*, on demand`."""
        market = {"": "", "spot": "spot", "on_demand": "on demand"}[self.market]
        return ", ".join(said for said in (" or ".join(self.instance_types), market) if said)


@lru_cache(maxsize=4096)
def _takes(constraint: Constraint, offering: Offering) -> bool:
    if constraint.market and constraint.market != offering.market:
        return False
    return not constraint.instance_types or matches(offering.instance_type, constraint.instance_types)


def matches(instance_type: str, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns matches: `*` stands for any characters, `?` for one."""
    return any(fnmatchcase(instance_type, pattern) for pattern in patterns)
