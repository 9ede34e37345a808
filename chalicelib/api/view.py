"""What answers are made of: structs, encoded as they stand, from which `/openapi.json` is generated (docs/contracts.md §7).

One noun a file: `job_view.py`, `host_view.py` and so on. A struct's field that is UNSET is left out of the answer; everything else is
always there, so that readers need no defaults of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

PAGE_BYTES_MAX = (
    2_900_000  # Lambda refuses an answer over 6 MB, in which every quote and backslash is escaped once more
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Part of an answer."""


V = TypeVar("V", bound=View)


def fitting(shown: Iterable[V]) -> tuple[list[V], bool]:
    """As many as one answer can hold, at least one, and whether it was not all: then the cursor is the last one's."""
    items: list[V] = []
    room = PAGE_BYTES_MAX
    for view in shown:
        room -= len(msgspec.json.encode(view))
        if room < 0 and items:
            return items, True
        items.append(view)
    return items, False
