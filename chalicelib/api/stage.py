"""Routes of the stage itself, for anybody: how it is, and what its API is."""

from __future__ import annotations

from functools import cache
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import openapi, stage_view
from chalicelib.api.answers import ROUTES, answer, router
from chalicelib.control import health

API_VERSION = "0.1.0"


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    @route("GET", "/healthz", public=True, gives=stage_view.HealthView, statuses=(200, 503))
    def get_health() -> Response:
        """Whether the parts that everything hangs on answer; no token is needed."""
        seen = stage_view.health(health.check(wiring.plane()))
        return answer(seen, 200 if seen.ok else 503)

    @route("GET", "/openapi.json", public=True)
    def get_openapi() -> Response:
        """This API in OpenAPI 3.1; no token is needed."""
        return answer(described())

    return bp


@cache
def described() -> dict[str, Any]:
    """The document of all routes that are registered."""
    return openapi.document(ROUTES.values(), API_VERSION)
