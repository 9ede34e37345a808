"""Families, schedules, and when what is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from chalicelib.core.agenda import Item
from chalicelib.core.family import Family
from chalicelib.core.schedule import Fired, Schedule


class Families(Protocol):
    def all(self) -> list[Family]:
        """The newest version of each, by name."""

    def get(self, name: str, version: int | None = None) -> Family | None:
        """A version of it; None: the newest."""

    def versions(self, name: str, limit: int = 100) -> list[Family]:
        """The newest first."""

    def put(self, family: Family) -> bool:
        """Keep it as the version after the newest; False if that is not the one before it."""


class Schedules(Protocol):
    def all(self) -> list[Schedule]: ...

    def get(self, name: str) -> Schedule | None: ...

    def put(self, schedule: Schedule, *, version: int | None) -> Schedule | None:
        """Create (version None, only if absent) or replace what was said and `next_at` of that version; None if it lost the race.

        Never touches `last_job` and `last_at`.
        """

    def delete(self, name: str, *, version: int) -> bool:
        """False if it is not at that version, or not there. Its fires stay."""

    def advance(self, name: str, at: float, next_at: float | None, last_job: str | None) -> bool:
        """The fire of `at` is done: set `last_at`, `next_at`, and `last_job` if given; False if another one is next."""

    def ran(self, name: str, at: float, job: str) -> None:
        """Somebody had it run: set `last_at` and `last_job`. Does nothing if there is no such schedule."""

    def decide(self, fired: Fired, expires_at: float) -> Fired:
        """Write down what becomes of a fire, or learn what was written down. The first writer wins, for ever the same answer."""

    def refuse(self, fired: Fired, reason: str) -> None:
        """What was to be submitted could not be accepted."""

    def fired(self, name: str, limit: int = 50) -> list[Fired]:
        """Its last fires, the newest first."""

    def fired_at(self, name: str, at: float) -> Fired | None:
        """What became of the fire of the clock that was due then."""


class Agenda(Protocol):
    def put(self, items: Sequence[Item]) -> None:
        """Put (again): the same item is one."""

    def due(self, until: float, limit: int) -> list[Item]:
        """The first `limit` that are due by then, by time."""

    def remove(self, items: Sequence[Item]) -> None:
        """Gone afterwards, whether they were there or not."""
