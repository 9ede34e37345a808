"""Bearer tokens: made, listed, revoked; who did it is told in the story of `settings`, for more than a year.

A token's text leaves this process once, in the answer to who made it. What is kept is its SHA-256, and the beginning of that is its id.
"""

from __future__ import annotations

import re

from chalicelib.control.calendar import iso
from chalicelib.control.pools import audit
from chalicelib.control.settings import SUBJECT
from chalicelib.errors import NotFound
from chalicelib.ids import token_hash
from chalicelib.store.ports import TOKEN_ID_DIGITS, Token
from chalicelib.wiring import Plane

DAY_S = 86_400.0
_ID = re.compile(rf"token-([0-9a-f]{{{TOKEN_ID_DIGITS}}})\Z")


def issue(plane: Plane, *, role: str, owner: str, days: int | None, note: str, by: str) -> tuple[str, Token]:
    """A new token: its text, which nobody can have again, and its row. `days`: how long it opens anything; None: until it is revoked."""
    now, text = plane.clock(), plane.new_token()
    token = Token(
        sha256=token_hash(text),
        role=role,
        owner=owner,
        created_at=now,
        expires_at=None if days is None else now + days * DAY_S,
        note=note,
        by=by,
    )
    plane.stores.registry.put_token(token)
    until = "does not expire" if token.expires_at is None else f"expires at {iso(token.expires_at)}"
    purpose = f" for {note!r}" if note else ""
    audit(plane, SUBJECT, "token", [f"{token.id} made: {role} of {owner}{purpose}, {until} (by {by})"])
    return text, token


def listed(plane: Plane) -> list[tuple[Token, float | None]]:
    """All tokens that can be used still, oldest first, each with its last use, which is known to the hour."""
    uses, now = plane.stores.registry.uses(), plane.clock()
    tokens = [t for t in plane.stores.registry.tokens() if t.expires_at is None or t.expires_at > now]
    return [(token, uses.get(token.sha256)) for token in sorted(tokens, key=lambda t: (t.created_at, t.id))]


def revoke(plane: Plane, token_id: str, *, by: str) -> Token:
    """Take a token away for good. Raises NotFound. It is out of force everywhere within a minute (chalicelib/api/auth.py)."""
    match = _ID.match(token_id)
    for token in plane.stores.registry.tokens(match[1]) if match else ():
        if plane.stores.registry.remove_token(token.sha256):
            audit(plane, SUBJECT, "token", [f"{token.id} revoked: {token.role} of {token.owner} (by {by})"])
            return token
    raise NotFound(f"there is no token {token_id[:64]}; what it is called, GET /tokens says")
