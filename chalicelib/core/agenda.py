"""The agenda: what falls due later, sorted by time. A row says only that something is to be looked at; job and schedule are the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

AHEAD_S = 75.0  # what is due so soon is put on a timer: the tick looks once a minute
DELAY_MAX_S = 900  # SQS's; a clock that runs behind may ask for more


@dataclass(frozen=True, slots=True, order=True)
class Item:
    """`at`: a whole second, the first at which it is due. `kind`: job | schedule; `name`: its id or name."""

    at: int
    kind: str
    name: str

    @property
    def key(self) -> str:
        """Sorts by time."""
        return f"{self.at:012d}#{self.kind}#{self.name}"


def item(at: float, kind: str, name: str) -> Item:
    return Item(math.ceil(at), kind, name)


def read(key: str) -> Item:
    """The item of a key."""
    at, kind, name = key.split("#", 2)
    return Item(int(at), kind, name)


def delay_s(at: float, now: float) -> int:
    """Whole seconds until then, too few only where a timer cannot wait so long: one that comes too early waits again."""
    return min(DELAY_MAX_S, max(0, math.ceil(at - now)))
