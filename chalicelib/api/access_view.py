"""Tokens and owners as users see them (docs/contracts.md §7)."""

from __future__ import annotations

from typing import Any

import msgspec

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
