"""Routes of runtime settings: of a pool, of the whole stage; a pool's calendar; who is looking.

`If-Match: "7"` on a change makes it conditional on version 7 (412 otherwise); answers carry the version as ETag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import pool_view, pool_wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.api.wire import decode
from chalicelib.control import calendar, pools, restart, settings
from chalicelib.core.pool import Pool
from chalicelib.core.settings import Defaults
from chalicelib.errors import Fault


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def operator() -> Caller:
        who = caller(bp.current_request.context)
        who.must_run_things()
        return who

    def body() -> bytes | str:
        return bp.current_request.raw_body

    def wanted() -> int | None:
        return pool_wire.version_of(bp.current_request.headers.get("if-match"))

    @route("GET", "/pools/{pool}", gives=pool_view.PoolWholeView, etag=True)
    def get_pool(pool: str) -> Response:
        """A pool: its settings, who said them, its scaling; its calendar for operators."""
        who = caller(bp.current_request.context)
        return _pool(pools.known(wiring.plane(), pool), calendar_too=who.runs_things)

    @route(
        "PUT", "/pools/{pool}", takes=pool_wire.PoolSpecWire, gives=pool_view.PoolWholeView, etag=True, if_match=True
    )
    def put_pool(pool: str) -> Response:
        """Create a pool, or replace all that was said of it."""
        who = operator()
        said = pool_wire.document(decode(body(), pool_wire.PoolSpecWire))
        warned: list[Fault] = []
        written = pools.put(wiring.plane(), pool, said, by=who.owner, version=wanted(), warn=warned.append)
        return _pool(written, warnings=warned)

    @route(
        "PATCH", "/pools/{pool}", takes=pool_wire.PoolPatchWire, gives=pool_view.PoolWholeView, etag=True, if_match=True
    )
    def patch_pool(pool: str) -> Response:
        """Change settings of a pool by a merge patch: null takes a setting back."""
        who = operator()
        changes, warned = pool_wire.patch(body()), list[Fault]()
        written = pools.patch(wiring.plane(), pool, changes, by=who.owner, version=wanted(), warn=warned.append)
        return _pool(written, warnings=warned)

    @route("POST", "/pools/{pool}/restart", gives=pool_view.PoolWholeView, etag=True)
    def post_restart(pool: str) -> Response:
        """Replace all hosts of a pool, rolling."""
        return _pool(restart.restart(wiring.plane(), pool, by=operator().owner))

    @route(
        "POST", "/pools/{pool}/kill", takes=pool_wire.KillWire, gives=pool_view.PoolWholeView, etag=True, optional=True
    )
    def post_kill(pool: str) -> Response:
        """Launch no host, and let those that are there leave when what runs there has ended."""
        who = operator()
        asked = decode(body() or b"{}", pool_wire.KillWire)
        return _pool(restart.kill(wiring.plane(), pool, by=who.owner, force=asked.force))

    @route("POST", "/pools/{pool}/start", gives=pool_view.PoolWholeView, etag=True)
    def post_start(pool: str) -> Response:
        """Undo `kill`, and switch scaling on."""
        return _pool(restart.start(wiring.plane(), pool, by=operator().owner))

    @route("GET", "/settings", gives=pool_view.SettingsView, etag=True)
    def get_settings() -> Response:
        """The stage's own defaults of all pools."""
        operator()
        return _defaults(wiring.plane().stores.registry.defaults())

    @route("PATCH", "/settings", takes=pool_wire.PoolPatchWire, gives=pool_view.SettingsView, etag=True, if_match=True)
    def patch_settings() -> Response:
        """Change the stage's defaults by a merge patch, and every pool with them."""
        who = operator()
        changes, warned = pool_wire.patch(body()), list[Fault]()
        written = settings.patch_defaults(wiring.plane(), changes, by=who.owner, version=wanted(), warn=warned.append)
        return _defaults(written, warnings=warned)

    @route("GET", "/pools/{pool}/calendar", gives=pool_view.CalendarView, etag=True)
    def get_calendar(pool: str) -> Response:
        """The bookings of a pool."""
        operator()
        found = pools.known(wiring.plane(), pool)
        return _calendar(found)

    @route(
        "PUT",
        "/pools/{pool}/calendar/{booking_id}",
        takes=pool_wire.BookingWire,
        gives=pool_view.BookingView,
        etag=True,
    )
    def put_booking(pool: str, booking_id: str) -> Response:
        """Announce a surge, or change one."""
        who = operator()
        asked = pool_wire.booking(booking_id, decode(body(), pool_wire.BookingWire))
        changed = calendar.book(wiring.plane(), pool, asked, by=who.owner)
        return answer(pool_view.booking(asked), version=changed.version)

    @route("DELETE", "/pools/{pool}/calendar/{booking_id}", gives=pool_view.CalendarView, etag=True)
    def delete_booking(pool: str, booking_id: str) -> Response:
        """Take a booking back; the answer is those that are left."""
        who = operator()
        changed = calendar.unbook(wiring.plane(), pool, booking_id, by=who.owner)
        return _calendar(changed)

    @route(
        "POST", "/pools/{pool}/interest", takes=pool_wire.InterestWire, gives=pool_view.InterestView, statuses=(202,)
    )
    def post_interest(pool: str) -> Response:
        """Say that somebody is looking at what the pool works for."""
        asked = decode(body(), pool_wire.InterestWire)
        plane = wiring.plane()
        known = pools.known(plane, pool)
        expires_at = plane.clock() + asked.seconds
        plane.stores.registry.looking(known.name, asked.viewer, expires_at)
        return answer(pool_view.InterestView(pool=known.name, viewer=asked.viewer, expires_at=expires_at), 202)

    return bp


def _pool(pool: Pool, *, calendar_too: bool = True, warnings: Sequence[Fault] | None = None) -> Response:
    defaults = wiring.plane().stores.registry.defaults()
    shown = pool_view.whole(pool, defaults, calendar_too=calendar_too, warnings=warnings)
    return answer(shown, version=pool.version)


def _defaults(defaults: Defaults, *, warnings: Sequence[Fault] | None = None) -> Response:
    return answer(pool_view.settings(defaults, warnings=warnings), version=defaults.version)


def _calendar(pool: Pool) -> Response:
    shown = pool_view.CalendarView(items=[pool_view.booking(b) for b in pool.calendar])
    return answer(shown, version=pool.version)
