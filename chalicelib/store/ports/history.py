"""What happened, how long it took, and how much there was of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chalicelib.core.durations import Learned
from chalicelib.core.story import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a pool was at a minute (`at`: its first second): names and numbers as `control/samples.py` writes them."""

    at: float
    values: Mapping[str, Any]


class Story(Protocol):
    def append(self, lines: Sequence[Line], expires_at: float) -> None:
        """Batched by 25. Two lines of one subject at one moment are both kept."""

    def of(self, subject: str, limit: int = 100) -> list[Line]:
        """The last `limit` lines, oldest first."""


class Durations(Protocol):
    def add(self, pool: str, day: str, sums: Mapping[str, Learned], expires_at: float) -> None:
        """Add to the sums of a day ("2026-11-21"), each key in one write that reads nothing."""

    def of(self, pool: str, since_day: str) -> dict[str, Learned]:
        """The sums of all days from `since_day` on, by key. Eventually consistent."""


class Samples(Protocol):
    def put(self, pool: str, at: float, values: Mapping[str, Any], expires_at: float) -> None:
        """Keep the values of the minute that `at` lies in; the last put of a minute stays."""

    def of(self, pool: str, since: float, until: float, limit: int) -> list[Sample]:
        """The newest `limit` samples of the minutes from `since`'s to `until`'s, oldest first. Eventually consistent."""
