"""Notices: one structure for everything that people or webhooks are told (docs/contracts.md §8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def notify(
    plane: Plane,
    type_: str,
    severity: str,
    *,
    subject: str,
    reason: str,
    pool: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Publish a notice. A topic that cannot be reached is logged: telling must never undo what was done."""
    notice = {
        "version": 1,
        "type": type_,
        "severity": severity,
        "pool": pool,
        "subject": subject,
        "reason": reason,
        "at": plane.clock(),
        "detail": dict(detail or {}),
    }
    try:
        plane.cloud.notices.publish(notice)
    except CloudUnavailable as error:
        log.error("a notice could not be published", extra={"notice": notice, "error": str(error)})
