"""The story: what happened to a job or a host, and why. Append-only; lines expire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    at: float
    subject: str  # a job's or host's id, or `of_pool(name)`
    event: str
    reason: str


def of_pool(name: str) -> str:
    """The subject of a pool's own story."""
    return f"pool/{name}"
