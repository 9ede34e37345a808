"""Routes of owners: their quotas, set by operators and seen by those whom they bind."""

from __future__ import annotations

import re
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import access_view, pool_wire
from chalicelib.api.access_wire import QuotaWire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.api.wire import decode
from chalicelib.control import quotas
from chalicelib.core.quota import NO_QUOTA, Quota
from chalicelib.errors import BadRequest, Fault, NotFound

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    def operator() -> Caller:
        me = who()
        me.must_run_things()
        return me

    def wanted() -> int | None:
        return pool_wire.version_of(bp.current_request.headers.get("if-match"))

    @route("GET", "/owners", gives=access_view.OwnersView)
    def get_owners() -> Response:
        """All owners that were ever given a quota, by name."""
        operator()
        rows = wiring.plane().stores.owners.quotas()
        return answer(access_view.OwnersView(items=[access_view.quota(row) for row in rows]))

    @route("GET", "/owners/{owner}", gives=access_view.OwnerView)
    def get_owner(owner: str) -> Response:
        """An owner's quota, and what of it is used."""
        me, plane = who(), wiring.plane()
        me.must_see(owner, f"owner {owner[:64]}")
        if not _OWNER.match(owner):
            raise NotFound(f"there is no owner {owner[:64]}")
        row = plane.stores.owners.quota(owner)
        jobs, usd = quotas.used(plane, owner)
        return answer(access_view.owner(row, jobs, usd), version=row.version)

    @route("PUT", "/owners/{owner}", takes=QuotaWire, gives=access_view.QuotaView)
    def put_owner(owner: str) -> Response:
        """Replace an owner's quota; what is left out is not limited."""
        me = operator()
        if not _OWNER.match(owner):
            fault = Fault("owner", "is no name: letters, digits, dots, hyphens and underscores, at most 64")
            raise BadRequest(f"{fault.field} {fault.message}", (fault,))
        asked = decode(bp.current_request.raw_body, QuotaWire)
        limits = Quota(jobs_max=asked.jobs_max, cpu_max=asked.cpu_max, usd_per_day=asked.usd_per_day)
        row = quotas.put(wiring.plane(), owner, limits, by=me.owner, version=wanted())
        return answer(access_view.quota(row), version=row.version)

    @route("DELETE", "/owners/{owner}", gives=access_view.QuotaView)
    def delete_owner(owner: str) -> Response:
        """Lift an owner's quota: nothing of it is limited any more."""
        me = operator()
        if not _OWNER.match(owner):
            raise NotFound(f"there is no owner {owner[:64]}")
        row = quotas.put(wiring.plane(), owner, NO_QUOTA, by=me.owner, version=wanted())
        return answer(access_view.quota(row), version=row.version)

    return bp
