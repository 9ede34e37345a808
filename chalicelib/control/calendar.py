"""The capacity calendar of a pool: booked surges, kept on the pool's row so that a pass sees them without another read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from chalicelib.control.pools import known, rouse, tell, tried
from chalicelib.core import calendar
from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool
from chalicelib.errors import BadRequest, Fault, NotFound
from chalicelib.wiring import Plane

BOOKINGS_MAX = 200  # of a pool


def book(plane: Plane, pool: str, booking: Booking, *, by: str) -> Pool:
    """Add the booking, or replace the one with its id. Raises NotFound, BadRequest (fields), Conflict."""
    now = plane.clock()
    faults = calendar.faults(booking)
    if booking.ends_at <= now:
        faults.append(Fault("ends_at", "is over already"))
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))

    def added(bookings: Sequence[Booking]) -> list[Booking]:
        found = sorted([*(b for b in bookings if b.id != booking.id), booking], key=lambda b: (b.starts_at, b.id))
        if len(found) > BOOKINGS_MAX:
            raise BadRequest(f"pool {pool} has {BOOKINGS_MAX} bookings to come already, which is the most")
        return found

    return _change(plane, pool, added, f"booked {sentence(booking)}", by)


def unbook(plane: Plane, pool: str, booking_id: str, *, by: str) -> Pool:
    """Take a booking back. Raises NotFound, Conflict."""

    def without(bookings: Sequence[Booking]) -> list[Booking]:
        left = [b for b in bookings if b.id != booking_id]
        if len(left) == len(bookings):
            raise NotFound(f"pool {pool} has no booking {booking_id}")
        return left

    return _change(plane, pool, without, f"took back the booking {booking_id}", by)


def sentence(booking: Booking) -> str:
    """`exam (Exam in CS 101): 300 people, 2026-12-01T13:00:00Z to 2026-12-01T14:00:00Z`."""
    much = f"{booking.people} people" if booking.hosts is None else f"{booking.hosts} hosts"
    return f"{booking.id} ({booking.title}): {much}, {iso(booking.starts_at)} to {iso(booking.ends_at)}"


def iso(at: float) -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _change(plane: Plane, name: str, change: Callable[[Sequence[Booking]], list[Booking]], what: str, by: str) -> Pool:
    def once() -> Pool | None:
        pool, now = known(plane, name), plane.clock()
        return plane.stores.registry.put_calendar(
            name, change([b for b in pool.calendar if b.ends_at > now]), version=pool.version
        )

    pool = tried(name, once)
    tell(plane, pool, "booking", [what], by)
    rouse(plane, name)
    return pool
