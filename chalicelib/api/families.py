"""Routes of families: everybody may see them, operators change them."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import family_view, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import caller
from chalicelib.api.family_wire import FamilyQuery, FamilyWire, family
from chalicelib.api.pool_wire import version_of
from chalicelib.api.view import fitting
from chalicelib.control import families
from chalicelib.errors import NotFound

BYTES_MAX = 32_768  # of a document: a hundred must fit into an answer


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    @route("GET", "/families", query=wire.NamesQuery, gives=family_view.FamiliesPage)
    def get_families() -> Response:
        """Families by name, each at its newest version."""
        asked = wire.query(bp.current_request.query_params, wire.NamesQuery)
        found, following = families.page(wiring.plane(), asked.limit, asked.cursor)
        items, cut = fitting(family_view.family(f) for f in found)
        return answer(family_view.FamiliesPage(items=items, next=items[-1].name if cut else following))

    @route("GET", "/families/{family}", query=FamilyQuery, gives=family_view.FamilyView)
    def get_family(family: str) -> Response:
        """A family, at its newest version or the one that is asked for."""
        asked = wire.query(bp.current_request.query_params, FamilyQuery)
        found = families.get(wiring.plane(), _name(family), asked.version)
        return answer(family_view.family(found), version=found.version)

    @route("GET", "/families/{family}/versions", gives=family_view.FamiliesView)
    def get_versions(family: str) -> Response:
        """The last 100 versions of a family, the newest first."""
        found = wiring.plane().stores.families.versions(_name(family))
        if not found:
            raise NotFound(f"there is no family {family}")
        return answer(family_view.FamiliesView(items=fitting(family_view.family(f) for f in found)[0]))

    @route("PUT", "/families/{family}", takes=FamilyWire, gives=family_view.FamilyView)
    def put_family(family: str) -> Response:
        """Make a family, or its next version; the same as its newest version is no new one."""
        who = caller(bp.current_request.context)
        who.must_run_things()
        said = _record(family, wire.decode(bp.current_request.raw_body, FamilyWire, BYTES_MAX), who.owner)
        version = version_of(bp.current_request.headers.get("if-match"))
        kept = families.put(wiring.plane(), said, version=version)
        return answer(family_view.family(kept), version=kept.version)

    return bp


def _name(text: str) -> str:
    """Raises NotFound for what can be no family's name: DynamoDB refuses keys that are empty or long."""
    if not wire.is_name(text):
        raise NotFound(f"there is no family {text[:64]}")
    return text


def _record(name: str, said: FamilyWire, by: str) -> Any:
    return family(wire.convert_name(name, "family"), said, by=by)
