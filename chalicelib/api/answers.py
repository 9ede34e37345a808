"""Answers of routes: JSON documents, and errors as problem+json (RFC 9457) with every fault and its field."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from chalice import ChaliceViewError, Response  # type: ignore[attr-defined]  # Chalice re-exports without saying so

from chalicelib.api.wire import to_json
from chalicelib.errors import BadRequest, CloudUnavailable, StoreUnavailable
from chalicelib.telemetry import log


def answer(document: Any, status: int = 200) -> Response:
    """A JSON response."""
    return Response(body=to_json(document), status_code=status, headers={"Content-Type": "application/json"})


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


def middleware(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Turns exceptions of routes into problems. What we did not expect is logged whole and told as ours, without its insides."""
    try:
        return get_response(event)
    except BadRequest as error:
        return problem(error.status, error.detail, error.faults)
    except (StoreUnavailable, CloudUnavailable) as error:
        log.warning("a request could not be served now", extra={"error": str(error)})
        return problem(503, "AWS did not answer in time; nothing is lost, please try again")
    except ChaliceViewError as error:
        return problem(error.STATUS_CODE, str(error))
    except Exception:
        log.exception("a route failed")
        return problem(500, "Spillway made a mistake; it is logged and not your fault")
