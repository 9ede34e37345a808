"""The route of samples: what a pool was, minute by minute."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import pool_view, pool_wire, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import caller
from chalicelib.control import pools


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    @route("GET", "/pools/{pool}/samples", query=pool_wire.SamplesQuery, gives=pool_view.SamplesView)
    def get_samples(pool: str) -> Response:
        """What a pool was, minute by minute; default: the last hour."""
        caller(bp.current_request.context).must_run_things()
        plane = wiring.plane()
        name = pools.known(plane, pool).name
        asked = wire.query(bp.current_request.query_params, pool_wire.SamplesQuery)
        since, until = pool_wire.span(asked, plane.clock())
        found = plane.stores.samples.of(name, since, until, asked.limit)
        return answer({"items": [{"at": sample.at, **sample.values} for sample in found]})

    return bp
