"""What users send about arrays."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from chalicelib.api.job_wire import JobSpecWire
from chalicelib.api.wire import Name, Strict, refuse
from chalicelib.core.arrays import COUNT_MAX
from chalicelib.errors import Fault

ARRAY_BYTES_MAX = 3_145_728  # quoted once more inside the event that Lambda gets, of which it takes 6 MB

Elements = Annotated[list[Annotated[dict[str, Any], Meta(max_length=200)]], Meta(min_length=1, max_length=COUNT_MAX)]


class ArrayWire(Strict, frozen=True, kw_only=True):
    """An array: `count` jobs like `job`, or one for each of `elements`, with these parameters beside those of `job`."""

    job: JobSpecWire
    count: Annotated[int, Meta(ge=1, le=COUNT_MAX)] | None = None
    elements: Elements | None = None


class ArraysQuery(Strict, frozen=True, kw_only=True):
    """Which arrays: those of a pool, the newest first."""

    pool: Name = "default"
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    cursor: Annotated[str, Meta(max_length=64, pattern=r"^array-[A-Za-z0-9]+\Z")] | None = None


class ElementsQuery(Strict, frozen=True, kw_only=True):
    """Which elements: a page by index, or those that have ended in one way."""

    state: Literal["succeeded", "failed", "timed_out", "cancelled", "lost", "skipped"] | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 100
    cursor: Annotated[int, Meta(ge=0, lt=COUNT_MAX)] | None = None


def count_of(wire: ArrayWire) -> int:
    """How many elements it has. Raises BadRequest where it says so never, or twice and differently."""
    listed = None if wire.elements is None else len(wire.elements)
    if listed is None and wire.count is None:
        refuse([Fault("count", "is required where no `elements` are listed")])
    if listed is not None and wire.count not in (None, listed):
        refuse([Fault("count", f"is {wire.count}, and {listed} elements are listed")])
    return listed or wire.count or 0
