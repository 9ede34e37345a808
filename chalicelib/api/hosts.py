"""Routes of hosts, and what tells operators why: stories, plans, and whether what must hold does. All of them only read."""

from __future__ import annotations

import re
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import views
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.control import explain, pools, story
from chalicelib.core.pool import Pool
from chalicelib.errors import NotFound

_ID = re.compile(
    r"[A-Za-z0-9-]{1,64}\Z"
)  # what is no id is not looked up: DynamoDB refuses keys that are empty or long


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    def operated(pool: str) -> Pool:
        who().must_run_things()
        return pools.known(wiring.plane(), pool)

    def asked(host_id: str) -> str:
        who().must_run_things()
        if not _ID.match(host_id):
            raise _unknown(host_id)
        return host_id

    @route("GET", "/hosts/{host_id}")
    def get_host(host_id: str) -> Response:
        found = explain.find_host(wiring.plane(), asked(host_id))
        if found is None:
            raise _unknown(host_id)
        return answer(views.host(found))

    @route("GET", "/hosts/{host_id}/story")
    def get_host_story(host_id: str) -> Response:
        plane = wiring.plane()
        lines = story.of_host(plane, asked(host_id), explain.find_host(plane, host_id))
        if not lines:
            raise _unknown(host_id)
        return answer(views.story(lines))

    @route("GET", "/hosts/{host_id}/why")
    def get_host_why(host_id: str) -> Response:
        why = explain.host(wiring.plane(), asked(host_id))
        if why is None:
            raise _unknown(host_id)
        return answer(views.why(why))

    @route("GET", "/pools/{pool}/story")
    def get_pool_story(pool: str) -> Response:
        return answer(views.story(story.of_pool(wiring.plane(), operated(pool).name)))

    @route("GET", "/settings/story")
    def get_settings_story() -> Response:
        who().must_run_things()
        return answer(views.story(story.of_settings(wiring.plane())))

    @route("GET", "/pools/{pool}/plan")
    def get_plan(pool: str) -> Response:
        return answer(views.plan(explain.plan(wiring.plane(), operated(pool))))

    @route("GET", "/pools/{pool}/invariants")
    def get_invariants(pool: str) -> Response:
        broken = explain.broken(wiring.plane(), operated(pool))
        return answer({"ok": not broken, "broken": broken})

    return bp


def _unknown(host_id: str) -> NotFound:
    return NotFound(f"there is no host {host_id[:64]}; one that is over has a story for 30 days, at /hosts/ID/story")
