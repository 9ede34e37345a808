"""The calendar of a pool and who is looking: kept on the pool's row, told, dropped when over, and nothing lost in a race."""

from __future__ import annotations

from typing import Any

import pytest
from meddling import a_pool, crash, meddled, story, wakes
from town import Town

from chalicelib.control import calendar, pools, settings
from chalicelib.core.calendar import Booking
from chalicelib.errors import BadRequest, NotFound


def a_booking(town: Town, name: str = "exam", in_h: float = 1.0, **facts: Any) -> Booking:
    starts_at = town.now + in_h * 3600
    return Booking(id=name, title="Exam", starts_at=starts_at, ends_at=starts_at + 3600, **{"people": 300} | facts)


def test_a_booking_is_on_the_pools_row_told_and_wakes_it() -> None:
    town = Town()
    town.run(1)
    calendar.book(town.plane, "default", a_booking(town), by="alice")
    assert a_pool(town).calendar == (a_booking(town),)
    assert wakes(town) == 1
    (line,) = story(town)
    assert line.startswith("booked exam (Exam): 300 people, 1970-01-12T14:")
    assert line.endswith("(by alice, version 2)")
    calendar.book(town.plane, "default", a_booking(town, people=0, hosts=4), by="alice")
    assert [b.hosts for b in a_pool(town).calendar] == [4]
    calendar.unbook(town.plane, "default", "exam", by="bob")
    assert a_pool(town).calendar == ()
    assert story(town)[-1] == "took back the booking exam (by bob, version 4)"
    with pytest.raises(NotFound, match="no booking exam"):
        calendar.unbook(town.plane, "default", "exam", by="bob")
    with pytest.raises(NotFound, match="no pool named none"):
        calendar.book(town.plane, "none", a_booking(town), by="alice")


def test_bookings_that_are_over_are_dropped_and_cannot_be_made() -> None:
    town = Town()
    calendar.book(town.plane, "default", a_booking(town, "first"), by="alice")
    town.now += 7201
    calendar.book(town.plane, "default", a_booking(town, "second"), by="alice")
    assert [b.id for b in a_pool(town).calendar] == ["second"]
    with pytest.raises(BadRequest, match="ends_at"):
        calendar.book(town.plane, "default", a_booking(town, "late", in_h=-3), by="alice")


def test_a_calendar_has_an_end() -> None:
    town = Town()
    for n in range(calendar.BOOKINGS_MAX):
        calendar.book(town.plane, "default", a_booking(town, f"b{n}"), by="alice")
    calendar.book(town.plane, "default", a_booking(town, "b0", in_h=2), by="alice")  # replaces
    with pytest.raises(BadRequest, match="200 bookings"):
        calendar.book(town.plane, "default", a_booking(town, "more"), by="alice")


def test_two_bookings_and_a_setting_in_the_same_moment_all_hold() -> None:
    town = Town()

    def meanwhile() -> None:
        pools.patch(town.plane, "default", {"linger_s": 5}, by="bob")
        calendar.book(town.plane, "default", a_booking(town, "a"), by="bob")

    calendar.book(meddled(town, "put_calendar", meanwhile), "default", a_booking(town, "b"), by="alice")
    pool = a_pool(town)
    assert ([b.id for b in pool.calendar], pool.spec.linger_s) == (["a", "b"], 5)


def test_interest_is_counted_by_the_tick_and_written_only_when_it_changed() -> None:
    """Three people look; the pool is woken once for it, and once when they have gone."""
    town = Town()
    town.run(1)
    for viewer in ("a", "b", "c", "a"):
        town.stores.registry.looking("default", viewer, town.now + 120)
    settings.count_interest(town.plane, a_pool(town))
    assert (a_pool(town).interest, a_pool(town).version, wakes(town)) == (3, 1, 1)
    settings.count_interest(meddled(town, "note_interest", crash), a_pool(town))
    town.run(200)
    assert a_pool(town).interest == 0
