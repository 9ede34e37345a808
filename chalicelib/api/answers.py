"""Answers of routes: JSON documents, and errors as problem+json (RFC 9457) with every fault and its field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from http import HTTPStatus
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]  # Chalice re-exports without saying so

from chalicelib.api.wire import to_json
from chalicelib.errors import BadRequest, CloudUnavailable, StoreUnavailable
from chalicelib.telemetry import log

View = Callable[..., Response]


def answer(document: Any, status: int = 200, *, version: int | None = None) -> Response:
    """A JSON response; `version` of what it shows becomes its ETag."""
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json"}
    if version is not None:
        headers["ETag"] = f'"{version}"'
    return Response(body=to_json(document), status_code=status, headers=headers)


def problem(status: int, detail: str, faults: tuple[Any, ...] = ()) -> Response:
    """A problem+json response."""
    return Response(
        body=to_json(
            {
                "type": "about:blank",
                "title": HTTPStatus(status).phrase,
                "status": status,
                "detail": detail,
                "errors": [{"field": f.field, "message": f.message} for f in faults],
            }
        ),
        status_code=status,
        headers={"Content-Type": "application/problem+json"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route as `/openapi.json` tells of it. `takes` (body), `gives` (answer) and `query` are structs, `statuses` those that answer
    `gives`. `optional`: the body may be left out. `etag`: the answer says its version; `if_match`: a change may name it."""

    method: str
    path: str
    name: str
    summary: str
    public: bool = False
    takes: Any = None
    gives: Any = None
    query: Any = None
    statuses: tuple[int, ...] = (200,)
    optional: bool = False
    etag: bool = False
    if_match: bool = False


ROUTES: dict[tuple[str, str], Route] = {}


def router(bp: Blueprint, authorizer: Any) -> Callable[..., Callable[[View], View]]:
    """`route(method, path, …)` for a blueprint: behind the authorizer unless `public`, and with exceptions told as problems.

    What else is said describes it (`Route`); its summary is the view's docstring.
    Chalice itself turns an exception of a view into its own 500 before any middleware sees it, hence here.
    """

    def route(method: str, path: str, *, public: bool = False, **described: Any) -> Callable[[View], View]:
        def register(view: View) -> View:
            @wraps(view)
            def told(*args: Any, **captured: Any) -> Response:
                try:
                    return view(*args, **captured)
                except Exception as error:
                    return _told(error)

            guard = {} if public else {"authorizer": authorizer}
            bp.route(path, methods=[method], **guard)(told)
            ROUTES[method, path] = Route(
                method=method,
                path=path,
                name=view.__name__,
                summary=(view.__doc__ or "").strip(),
                public=public,
                **described,
            )
            return view

        return register

    return route


def own(response: Response) -> Response:
    """Chalice's own refusals (a media type that it does not take, a crash outside of any view) as problems, like ours."""
    body = response.body
    if response.status_code < 400 or not isinstance(body, dict) or "Code" not in body:
        return response
    return problem(response.status_code, str(body.get("Message") or body["Code"]))


def _told(error: Exception) -> Response:
    """The problem that an exception is. What we did not expect is logged whole and told as ours, without its insides."""
    if isinstance(error, BadRequest):
        return problem(error.status, error.detail, error.faults)
    if isinstance(error, RecursionError):  # it was decoded, and nothing else of what is ours recurses
        return problem(400, "the body is nested too deep")
    if isinstance(error, StoreUnavailable | CloudUnavailable):
        log.warning("a request could not be served now", extra={"error": str(error)})
        return problem(503, "AWS did not answer in time; nothing is lost, please try again")
    log.error("a route failed", exc_info=error)
    return problem(500, "Spillway made a mistake; it is logged and not your fault")
