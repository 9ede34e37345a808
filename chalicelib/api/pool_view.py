"""A pool as users see it, the stage's settings, bookings, who looks, and samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from chalicelib.api.explain_view import TargetView
from chalicelib.api.view import View
from chalicelib.control import calendar
from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool, PoolSpec, Scaling
from chalicelib.core.settings import Defaults, effective, origins, said
from chalicelib.errors import Fault

_SETTINGS = tuple(f.name for f in fields(PoolSpec))

if TYPE_CHECKING:

    class _Effective(View, frozen=True, kw_only=True):
        def __init__(self, **settings: Any) -> None: ...

else:  # every setting is a field of the answer: the list of them is PoolSpec's
    _Effective = msgspec.defstruct(
        "_Effective", list(get_type_hints(PoolSpec).items()), bases=(View,), frozen=True, kw_only=True
    )


class PoolView(_Effective, frozen=True, kw_only=True):
    """A pool: all of its settings as they are in force, flat, with name and version."""

    name: str
    version: int


class PoolsView(View, frozen=True, kw_only=True):
    """All pools."""

    items: list[PoolView]


class FaultView(View, frozen=True, kw_only=True):
    """What is said about one field of a document."""

    field: str
    message: str


class ScalingView(View, frozen=True, kw_only=True):
    """What passes remember of their targets. Times are epoch seconds, 0 for never."""

    target: int
    why: str
    at: float
    stepped_at: float
    surplus_since: float | None


class BookingView(View, frozen=True, kw_only=True):
    """A surge that somebody announced; times both as epoch seconds and as ISO 8601 in UTC."""

    id: str
    title: str
    starts_at: float
    ends_at: float
    starts: str
    ends: str
    people: int
    jobs_per_person_h: float | None
    hosts: int | None


class CalendarView(View, frozen=True, kw_only=True):
    """All bookings of a pool."""

    items: list[BookingView]


class PoolWholeView(PoolView, frozen=True, kw_only=True):
    """A pool with all that is known of it: `settings` is what was said, `origins` who said each field; `calendar` is for operators;
    `warnings` are in answers to changes."""

    settings: Mapping[str, Any]
    origins: Mapping[str, str]
    defaults_version: int
    interest: int
    scaling: ScalingView
    calendar: list[BookingView] | UnsetType = UNSET
    warnings: list[FaultView] | UnsetType = UNSET


class SettingsView(View, frozen=True, kw_only=True):
    """The stage's own defaults of all pools (`settings`), and what a pool that says nothing has (`effective`)."""

    version: int
    settings: Mapping[str, Any]
    effective: PoolSpec
    changed_by: str | None
    changed_at: float | None
    warnings: list[FaultView] | UnsetType = UNSET


class InterestView(View, frozen=True, kw_only=True):
    """Until when somebody counts as looking."""

    pool: str
    viewer: str
    expires_at: float


class SampleView(View, frozen=True, kw_only=True):
    """A pool at one minute (core/samples.py)."""

    at: float
    hosts: Mapping[str, int]
    host_oldest_s: Mapping[str, float]
    jobs: Mapping[str, int]
    jobs_complete: bool
    job_oldest_s: Mapping[str, float]
    target: TargetView | None
    waiting_time_s: float
    desired_jobs: float
    desired_hosts: float
    target_hosts: float
    launches: int
    hosts_launched: int
    cost_usd_h: float


class SamplesView(View, frozen=True, kw_only=True):
    """Samples, oldest first."""

    items: list[SampleView]


def pool(record: Pool) -> PoolView:
    """A Pool document: its spec, flat, with name and version."""
    return PoolView(**_flat(record))


def whole(
    record: Pool, defaults: Defaults, *, calendar_too: bool = True, warnings: Sequence[Fault] | None = None
) -> PoolWholeView:
    """A Pool document with all that is known of it."""
    own = said(record)
    return PoolWholeView(
        **_flat(record),
        settings=own,
        origins=origins(defaults.settings, own),
        defaults_version=record.defaults_version,
        interest=record.interest,
        scaling=_scaling(record.scaling),
        calendar=[booking(b) for b in record.calendar] if calendar_too else UNSET,
        warnings=_warned(warnings),
    )


def settings(defaults: Defaults, *, warnings: Sequence[Fault] | None = None) -> SettingsView:
    """The stage's defaults."""
    return SettingsView(
        version=defaults.version,
        settings=defaults.settings,
        effective=effective({}, defaults.settings),
        changed_by=defaults.by or None,
        changed_at=defaults.at or None,
        warnings=_warned(warnings),
    )


def booking(record: Booking) -> BookingView:
    """A Booking document."""
    return BookingView(
        id=record.id,
        title=record.title,
        starts_at=record.starts_at,
        ends_at=record.ends_at,
        starts=calendar.iso(record.starts_at),
        ends=calendar.iso(record.ends_at),
        people=record.people,
        jobs_per_person_h=record.jobs_per_person_h,
        hosts=record.hosts,
    )


def _flat(record: Pool) -> dict[str, Any]:
    spec = {name: getattr(record.spec, name) for name in _SETTINGS}
    return {"name": record.name, "version": record.version, **spec}


def _scaling(record: Scaling) -> ScalingView:
    return ScalingView(
        target=record.target,
        why=record.why,
        at=record.at,
        stepped_at=record.stepped_at,
        surplus_since=record.surplus_since,
    )


def _warned(warnings: Sequence[Fault] | None) -> list[FaultView] | UnsetType:
    """What of a change does nothing, or could not be checked."""
    return UNSET if warnings is None else [FaultView(field=w.field, message=w.message) for w in warnings]
