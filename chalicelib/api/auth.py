"""Who calls: bearer tokens, known to us only by their SHA-256, and what their role may do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import Forbidden, NotFound
from chalicelib.store.ports import Token
from chalicelib.wiring import Plane

TOKEN_AGE_MAX_S = 60.0
_BEARER = re.compile(r"^Bearer (spw_[A-Za-z0-9_-]{43})\Z")


@dataclass(frozen=True, slots=True)
class Caller:
    """role: submitter | operator | admin."""

    role: str
    owner: str

    @property
    def runs_things(self) -> bool:
        return self.role in ("operator", "admin")

    def must_run_things(self) -> None:
        """Raises Forbidden for submitters."""
        if not self.runs_things:
            raise Forbidden(f"a token with role {self.role} may not do this; it needs operator or admin")

    def must_see(self, owner: str, what: str) -> None:
        """A submitter sees its owner's things only; of others it does not even learn that they exist."""
        if not self.runs_things and owner != self.owner:
            raise NotFound(f"there is no {what}")


def identify(plane: Plane, header: str) -> Token | None:
    """The token row behind an Authorization header, or None. The look-up is by hash, so its timing tells nothing of the token."""
    match = _BEARER.match(header)
    if match is None:
        return None
    digest = hashlib.sha256(match[1].encode()).hexdigest()
    now = plane.clock()
    token = plane.recall.get(f"token/{digest}", now, TOKEN_AGE_MAX_S, lambda: plane.stores.registry.token(digest))
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return None
    return token


def caller(context: Mapping[str, Any]) -> Caller:
    """The caller as the authorizer described it in the request's context."""
    facts = context.get("authorizer") or {}
    return Caller(role=str(facts.get("role", "")), owner=str(facts.get("owner", "")))
