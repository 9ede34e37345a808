"""What users send about jobs that are there: another priority, again, and the same for all that match a filter."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from chalicelib.api.wire import Moment, Name, Strict, epoch_s, refuse
from chalicelib.control.bulk import JOBS_MAX
from chalicelib.core.job import JobState
from chalicelib.core.job_filter import JobFilter
from chalicelib.errors import Fault

Priority = Annotated[int, Meta(ge=0, le=9)]
Key = Annotated[str, Meta(min_length=1, max_length=128)]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}\Z")]


class RetryWire(Strict, frozen=True, kw_only=True):
    """`priority`: in another class than before. `idempotency_key`: the same one again leads to the same new job."""

    priority: Priority | None = None
    idempotency_key: Key | None = None


class JobPatchWire(Strict, frozen=True, kw_only=True):
    """What of a job can be changed."""

    priority: Priority


class FilterWire(Strict, frozen=True, kw_only=True):
    """Which jobs: all that is said must hold, and without `ids` and `owner` the pool is "default". A label may be null: any value.
    `since` ≤ submitted < `until`."""

    pool: Name | None = None
    ids: Annotated[list[Id], Meta(max_length=JOBS_MAX)] = []
    owner: Name | None = None
    states: Annotated[list[JobState], Meta(max_length=20)] = []
    family: Name | None = None
    array: Id | None = None
    schedule: Name | None = None
    labels: Annotated[dict[Name, Annotated[str, Meta(max_length=256)] | None], Meta(max_length=20)] = {}
    since: Moment | None = None
    until: Moment | None = None


class BulkWire(Strict, frozen=True, kw_only=True):
    """The same for many jobs. Without `expect` they are only counted; with it, it is done if so many match.

    `priority` is for `retry` and `reprioritise`; `idempotency_key` makes a retry that is sent twice one.
    """

    action: Literal["cancel", "retry", "reprioritise"]
    filter: FilterWire
    expect: Annotated[int, Meta(ge=0)] | None = None
    priority: Priority | None = None
    idempotency_key: Key | None = None


def check(wire: BulkWire) -> None:
    """Raises BadRequest with what no schema can say."""
    if wire.action == "reprioritise" and wire.priority is None:
        refuse([Fault("priority", "is required to reprioritise")])
    if wire.action == "cancel" and wire.priority is not None:
        refuse([Fault("priority", "says nothing to a cancellation")])


def job_filter(wire: FilterWire, *, owner: str | None) -> JobFilter:
    """The filter of a document, for the jobs of this owner only (None: of all). Raises BadRequest for a time that cannot be read."""
    faults: list[Fault] = []
    moments: dict[str, float | None] = {"since": None, "until": None}
    for field, said in (("since", wire.since), ("until", wire.until)):
        try:
            moments[field] = None if said is None else epoch_s(said)
        except ValueError as error:
            faults.append(Fault(f"filter.{field}", str(error)))
    refuse(faults)
    return JobFilter(
        pool=wire.pool or (None if wire.ids or wire.owner else "default"),
        owner=owner,
        states=frozenset(wire.states),
        family=wire.family,
        schedule=wire.schedule,
        array=wire.array,
        labels=wire.labels,
        **moments,
    )
