"""What admins and operators send about tokens and owners."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from chalicelib.api.wire import Name, Strict


class TokenWire(Strict, frozen=True, kw_only=True):
    """A token to be made. `days`: how long it is good for; null: until it is revoked."""

    role: Literal["submitter", "operator", "admin"]
    owner: Name
    days: Annotated[int, Meta(ge=1, le=3650)] | None = 365
    note: Annotated[str, Meta(max_length=100)] = ""


class QuotaWire(Strict, frozen=True, kw_only=True):
    """What an owner may have; null or left out: as much as it likes."""

    jobs_max: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    cpu_max: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None
    usd_per_day: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None
