"""Whether the parts that everything hangs on answer: the tables and the queues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chalicelib.errors import SpillwayError
from chalicelib.wiring import Plane


def check(plane: Plane) -> dict[str, dict[str, Any]]:
    """Part → {"ok", and what was seen or what went wrong}."""
    return {
        "tables": _check(lambda: {"pools": len(plane.stores.registry.pools())}),
        "queues": _check(lambda: {"depths": dict(plane.cloud.queues.depths())}),
    }


def _check(look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"ok": True, **look()}
    except SpillwayError as error:
        return {"ok": False, "error": str(error)}
