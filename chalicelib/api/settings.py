"""Routes of runtime settings: of a pool, of the whole stage; a pool's calendar; who is looking.

`If-Match: "7"` on a change makes it conditional on version 7 (412 otherwise); answers carry the version as ETag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import pool_wire, views
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.api.wire import decode
from chalicelib.control import calendar, pools, restart, settings
from chalicelib.core.calendar import Booking
from chalicelib.core.pool import Pool
from chalicelib.core.settings import Defaults, effective, origins, plain, said
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

    @route("GET", "/pools/{pool}")
    def get_pool(pool: str) -> Response:
        who = caller(bp.current_request.context)
        return _pool(pools.known(wiring.plane(), pool), calendar_too=who.runs_things)

    @route("PUT", "/pools/{pool}")
    def put_pool(pool: str) -> Response:
        who = operator()
        said = pool_wire.document(decode(body(), pool_wire.PoolSpecWire))
        warned: list[Fault] = []
        written = pools.put(wiring.plane(), pool, said, by=who.owner, version=wanted(), warn=warned.append)
        return _pool(written, warnings=warned)

    @route("PATCH", "/pools/{pool}")
    def patch_pool(pool: str) -> Response:
        who = operator()
        changes, warned = pool_wire.patch(body()), list[Fault]()
        written = pools.patch(wiring.plane(), pool, changes, by=who.owner, version=wanted(), warn=warned.append)
        return _pool(written, warnings=warned)

    @route("POST", "/pools/{pool}/restart")
    def post_restart(pool: str) -> Response:
        return _pool(restart.restart(wiring.plane(), pool, by=operator().owner))

    @route("POST", "/pools/{pool}/kill")
    def post_kill(pool: str) -> Response:
        who = operator()
        asked = decode(body() or b"{}", pool_wire.KillWire)
        return _pool(restart.kill(wiring.plane(), pool, by=who.owner, force=asked.force))

    @route("POST", "/pools/{pool}/start")
    def post_start(pool: str) -> Response:
        return _pool(restart.start(wiring.plane(), pool, by=operator().owner))

    @route("GET", "/settings")
    def get_settings() -> Response:
        operator()
        return _defaults(wiring.plane().stores.registry.defaults())

    @route("PATCH", "/settings")
    def patch_settings() -> Response:
        who = operator()
        changes, warned = pool_wire.patch(body()), list[Fault]()
        written = settings.patch_defaults(wiring.plane(), changes, by=who.owner, version=wanted(), warn=warned.append)
        return _defaults(written, warnings=warned)

    @route("GET", "/pools/{pool}/calendar")
    def get_calendar(pool: str) -> Response:
        operator()
        found = pools.known(wiring.plane(), pool)
        return answer({"items": [booking(b) for b in found.calendar]}, version=found.version)

    @route("PUT", "/pools/{pool}/calendar/{booking_id}")
    def put_booking(pool: str, booking_id: str) -> Response:
        who = operator()
        asked = pool_wire.booking(booking_id, decode(body(), pool_wire.BookingWire))
        changed = calendar.book(wiring.plane(), pool, asked, by=who.owner)
        return answer(booking(asked), version=changed.version)

    @route("DELETE", "/pools/{pool}/calendar/{booking_id}")
    def delete_booking(pool: str, booking_id: str) -> Response:
        who = operator()
        changed = calendar.unbook(wiring.plane(), pool, booking_id, by=who.owner)
        return answer({"items": [booking(b) for b in changed.calendar]}, version=changed.version)

    @route("POST", "/pools/{pool}/interest")
    def post_interest(pool: str) -> Response:
        asked = decode(body(), pool_wire.InterestWire)
        plane = wiring.plane()
        known = pools.known(plane, pool)
        expires_at = plane.clock() + asked.seconds
        plane.stores.registry.looking(known.name, asked.viewer, expires_at)
        return answer({"pool": known.name, "viewer": asked.viewer, "expires_at": expires_at}, 202)

    return bp


def _pool(pool: Pool, *, calendar_too: bool = True, warnings: Sequence[Fault] | None = None) -> Response:
    """A Pool document with all that is known of it: what was said and by whom, what passes remember of its scaling, its calendar."""
    defaults = wiring.plane().stores.registry.defaults()
    own = said(pool)
    return answer(
        {
            **views.pool(pool),
            "settings": own,
            "origins": origins(defaults.settings, own),
            "defaults_version": pool.defaults_version,
            **({"calendar": [booking(b) for b in pool.calendar]} if calendar_too else {}),
            "interest": pool.interest,
            "scaling": {
                "target": pool.scaling.target,
                "why": pool.scaling.why,
                "at": pool.scaling.at,
                "stepped_at": pool.scaling.stepped_at,
                "surplus_since": pool.scaling.surplus_since,
            },
            **_warned(warnings),
        },
        version=pool.version,
    )


def _warned(warnings: Sequence[Fault] | None) -> dict[str, Any]:
    """In answers to changes: what of them does nothing, or could not be checked."""
    return {} if warnings is None else {"warnings": [{"field": w.field, "message": w.message} for w in warnings]}


def _defaults(defaults: Defaults, *, warnings: Sequence[Fault] | None = None) -> Response:
    return answer(
        {
            "version": defaults.version,
            "settings": dict(defaults.settings),
            "effective": plain(effective({}, defaults.settings)),
            "changed_by": defaults.by or None,
            "changed_at": defaults.at or None,
            **_warned(warnings),
        },
        version=defaults.version,
    )


def booking(record: Booking) -> dict[str, Any]:
    """A Booking document; times both as epoch seconds and as ISO 8601 in UTC."""
    return {
        "id": record.id,
        "title": record.title,
        "starts_at": record.starts_at,
        "ends_at": record.ends_at,
        "starts": calendar.iso(record.starts_at),
        "ends": calendar.iso(record.ends_at),
        "people": record.people,
        "jobs_per_person_h": record.jobs_per_person_h,
        "hosts": record.hosts,
    }
