"""The story of jobs, hosts and pools: written at the end of an invocation, read as rows and lines together."""

from __future__ import annotations

from chalicelib.errors import StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def flush(plane: Plane) -> None:
    """Write what was told. It is not the truth: where it cannot be written now, the invocation goes well all the same."""
    try:
        plane.stores.teller.flush()
    except StoreUnavailable as error:
        log.warning("the story could not be written now", extra={"error": str(error)})
    except Exception:  # lines that DynamoDB will never take must not stand in the way of all others
        log.exception("the story could not be written")
        plane.stores.teller.forget()
