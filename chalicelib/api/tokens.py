"""Routes of tokens: for admins only."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import access_view, auth
from chalicelib.api.access_wire import TokenWire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.api.wire import decode
from chalicelib.control import access


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def admin() -> Caller:
        who = caller(bp.current_request.context)
        who.must_be_admin()
        return who

    @route("POST", "/tokens", takes=TokenWire, gives=access_view.NewTokenView, statuses=(201,))
    def post_token() -> Response:
        """Make a token; its text is in this answer and nowhere else."""
        who = admin()
        asked = decode(bp.current_request.raw_body, TokenWire)
        text, made = access.issue(
            wiring.plane(), role=asked.role, owner=asked.owner, days=asked.days, note=asked.note, by=who.owner
        )
        return answer(access_view.new_token(made, text), 201)

    @route("GET", "/tokens", gives=access_view.TokensView)
    def get_tokens() -> Response:
        """All tokens that can be used still, oldest first, without their texts."""
        admin()
        items = [access_view.token(token, used_at) for token, used_at in access.listed(wiring.plane())]
        return answer(access_view.TokensView(items=items))

    @route("DELETE", "/tokens/{token_id}", gives=access_view.RevokedView)
    def delete_token(token_id: str) -> Response:
        """Revoke a token: within a minute it opens nothing any more."""
        gone = access.revoke(wiring.plane(), token_id, by=admin().owner)
        within_s = auth.ANSWER_AGE_MAX_S + int(auth.TOKEN_AGE_MAX_S)
        return answer(access_view.RevokedView(id=gone.id, role=gone.role, owner=gone.owner, within_s=within_s))

    return bp
