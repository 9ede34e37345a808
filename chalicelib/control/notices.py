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
    try:
        publish(plane, type_, severity, subject=subject, reason=reason, pool=pool, detail=detail)
    except CloudUnavailable as error:
        log.error("a notice could not be published", extra={"subject": subject, "reason": reason, "error": str(error)})


def publish(
    plane: Plane,
    type_: str,
    severity: str,
    *,
    subject: str,
    reason: str,
    pool: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """The same for who must know whether it was published. Raises CloudUnavailable."""
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
    plane.cloud.notices.publish(notice)
