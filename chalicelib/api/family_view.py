"""Families as users see them."""

from __future__ import annotations

from typing import Any

from chalicelib.api.view import View
from chalicelib.core.family import Family


class FamilyView(View, frozen=True, kw_only=True):
    """A version of a family. `defaults` as they were said; `at` in epoch seconds."""

    name: str
    version: int
    title: str
    defaults: dict[str, Any]
    schema: dict[str, Any]
    source: dict[str, Any] | None
    by: str
    at: float


class FamiliesView(View, frozen=True, kw_only=True):
    """Versions of a family."""

    items: list[FamilyView]


class FamiliesPage(View, frozen=True, kw_only=True):
    """A page of families; `next` is the cursor of the one after it."""

    items: list[FamilyView]
    next: str | None


def family(record: Family) -> FamilyView:
    return FamilyView(
        name=record.name,
        version=record.version,
        title=record.title,
        defaults=dict(record.defaults),
        schema=dict(record.schema),
        source=None if record.source is None else dict(record.source),
        by=record.by,
        at=record.at,
    )
