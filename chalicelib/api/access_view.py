"""Tokens and owners as users see them (docs/contracts.md §7)."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.core.quota import OwnerQuota
from chalicelib.store.ports import Token


class TokenView(msgspec.Struct, frozen=True, kw_only=True):
    """A token; `used_at` is known to the hour."""

    id: str
    role: str
    owner: str
    note: str
    created_by: str | None
    created_at: float
    expires_at: float | None
    used_at: float | None


class TokensView(msgspec.Struct, frozen=True, kw_only=True):
    """All tokens that can be used still, oldest first."""

    items: list[TokenView]


class NewTokenView(TokenView, frozen=True, kw_only=True):
    """A token that was just made: the only answer that ever has its text."""

    token: str


class RevokedView(msgspec.Struct, frozen=True, kw_only=True):
    """A token that is no more. What it opened stays open for `within_s` seconds at most."""

    id: str
    role: str
    owner: str
    within_s: int


def token(record: Token, used_at: float | None) -> TokenView:
    return TokenView(**_facts(record), used_at=used_at)


def new_token(record: Token, text: str) -> NewTokenView:
    return NewTokenView(**_facts(record), used_at=None, token=text)


def _facts(record: Token) -> dict[str, Any]:
    return {
        "id": record.id,
        "role": record.role,
        "owner": record.owner,
        "note": record.note,
        "created_by": record.by or None,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
    }


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """What an owner may have: jobs that have not ended, cores of a pool at work, money in a day (UTC); null: no limit."""

    owner: str
    version: int
    jobs_max: int | None
    cpu_max: float | None
    usd_per_day: float | None
    changed_by: str | None
    changed_at: float | None


class UsedView(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that have not ended, and what attempts that ended today have cost (kept only while money is limited)."""

    jobs: int
    usd_today: float


class OwnerView(QuotaView, frozen=True, kw_only=True):
    """A quota and what of it is used."""

    used: UsedView


class OwnersView(msgspec.Struct, frozen=True, kw_only=True):
    """By name."""

    items: list[QuotaView]


def quota(row: OwnerQuota) -> QuotaView:
    return QuotaView(**_quota(row))


def owner(row: OwnerQuota, jobs: int, usd_today: float) -> OwnerView:
    return OwnerView(**_quota(row), used=UsedView(jobs=jobs, usd_today=round(usd_today, 6)))


def _quota(row: OwnerQuota) -> dict[str, Any]:
    return {
        "owner": row.owner,
        "version": row.version,
        "jobs_max": row.quota.jobs_max,
        "cpu_max": row.quota.cpu_max,
        "usd_per_day": row.quota.usd_per_day,
        "changed_by": row.by or None,
        "changed_at": row.at or None,
    }
