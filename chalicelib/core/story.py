"""The story: what happened to a job or a host, and why. Append-only; lines expire."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    at: float
    subject: str  # a job's, host's or pool's id
    event: str
    reason: str
