"""The route of samples: what a pool was, minute by minute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import caller
from chalicelib.control import pools
from chalicelib.errors import BadRequest, Fault

HOUR_S = 3600.0
LATEST_S = 1e11  # the year 5138: what calendars can still say
LIMIT, LIMIT_MAX = 60, 1440


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    @route("GET", "/pools/{pool}/samples")
    def get_samples(pool: str) -> Response:
        caller(bp.current_request.context).must_run_things()
        plane = wiring.plane()
        name = pools.known(plane, pool).name
        since, until, limit = asked(bp.current_request.query_params or {}, plane.clock())
        found = plane.stores.samples.of(name, since, until, limit)
        return answer({"items": [{"at": sample.at, **sample.values} for sample in found]})

    return bp


def asked(query: Mapping[str, str], now: float) -> tuple[float, float, int]:
    """since, until (epoch seconds; default: the last hour) and limit. Raises BadRequest."""
    until = _number(query, "until", now, LATEST_S)
    since = _number(query, "since", max(0.0, until - HOUR_S), LATEST_S)
    limit = int(_number(query, "limit", LIMIT, LIMIT_MAX))
    if since > until:
        raise _refusal("since", f"must not be later than until, which is {until:.0f}")
    return since, until, max(1, limit)


def _number(query: Mapping[str, str], name: str, default: float, largest: float) -> float:
    text = query.get(name)
    if text is None:
        return default
    try:
        number = float(text)
    except ValueError:
        raise _refusal(name, f"{text[:40]!r} is no number") from None
    if not 0 <= number <= largest:  # neither is NaN
        raise _refusal(name, f"must lie between 0 and {largest:.0f}")
    return number


def _refusal(name: str, message: str) -> BadRequest:
    return BadRequest(f"{name}: {message}", (Fault(name, message),))
