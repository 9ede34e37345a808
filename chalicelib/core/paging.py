"""A page of records that are few enough to be read as a whole, and have names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)


def paged(records: Sequence[N], limit: int, after: str | None) -> tuple[list[N], str | None]:
    """The first `limit` behind the name `after`, and the cursor of the next page: None where there is nothing more."""
    later = sorted((r for r in records if after is None or r.name > after), key=lambda r: r.name)
    page = later[:limit]
    return page, page[-1].name if len(later) > limit else None
