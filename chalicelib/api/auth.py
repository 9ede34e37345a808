"""Who calls: bearer tokens, known to us only by their SHA-256, and what their role may do.

A token that is revoked, or expires, opens nothing any more after a minute at most: API Gateway keeps the authorizer's answer for
`ANSWER_AGE_MAX_S`, and this process what it read for `TOKEN_AGE_MAX_S` before that.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.errors import BadRequest, Fault, Forbidden, NotFound, StoreUnavailable
from chalicelib.ids import token_hash
from chalicelib.store.ports import Token
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

ANSWER_AGE_MAX_S = 45
TOKEN_AGE_MAX_S = 15.0
USE_NOTED_EVERY_S = 3600.0
USE_KEPT_S = 400 * 86_400.0
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

    def must_be_admin(self) -> None:
        """Raises Forbidden for all others."""
        if self.role != "admin":
            raise Forbidden(f"a token with role {self.role} may not do this; it needs admin")

    def must_see(self, owner: str, what: str) -> None:
        """A submitter sees its owner's things only; of others it does not even learn that they exist."""
        if not self.runs_things and owner != self.owner:
            raise NotFound(f"there is no {what}")


def identify(plane: Plane, header: str) -> Token | None:
    """The token row behind an Authorization header, or None.

    The look-up is by hash, so its timing tells nothing of the token; what it brings is compared in constant time all the same.
    """
    match = _BEARER.match(header)
    if match is None:
        return None
    digest = token_hash(match[1])
    now = plane.clock()
    token = plane.recall.get(f"token/{digest}", now, TOKEN_AGE_MAX_S, lambda: plane.stores.registry.token(digest))
    if token is None or not hmac.compare_digest(token.sha256, digest):
        return None
    if token.expires_at is not None and token.expires_at <= now:
        return None
    _note_use(plane, token, now)
    return token


def _note_use(plane: Plane, token: Token, now: float) -> None:
    """At most once an hour, whatever number of processes see it. That it cannot be written keeps nobody out."""

    def note() -> bool:
        plane.stores.registry.note_use(token.sha256, now, before=now - USE_NOTED_EVERY_S, expires_at=now + USE_KEPT_S)
        return True

    try:
        plane.recall.get(f"use/{token.sha256}", now, USE_NOTED_EVERY_S, note)
    except StoreUnavailable as error:
        log.warning("the use of a token could not be noted", extra={"token": token.id, "error": str(error)})


def caller(context: Mapping[str, Any]) -> Caller:
    """The caller as the authorizer described it in the request's context."""
    facts = context.get("authorizer") or {}
    return Caller(role=str(facts.get("role", "")), owner=str(facts.get("owner", "")))


def owner_of(me: Caller, wanted: str | None, prefix: str = "") -> str:
    """Whom the job is billed to: a submitter's own owner; operators may name another."""
    if wanted is None or wanted == me.owner:
        return me.owner
    if not me.runs_things:
        raise BadRequest(
            f"{prefix}owner: this token submits for {me.owner} only", (Fault(f"{prefix}owner", f"must be {me.owner}"),)
        )
    return wanted
