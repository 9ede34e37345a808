"""Routes of hosts, and what tells operators why: stories, plans, and whether what must hold does. All of them only read."""

from __future__ import annotations

import re
from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import explain_view, host_view, job_view, job_wire, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.control import explain, logs, pools, story
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

    @route("GET", "/hosts/{host_id}", gives=host_view.HostView)
    def get_host(host_id: str) -> Response:
        """A host."""
        found = explain.find_host(wiring.plane(), asked(host_id))
        if found is None:
            raise _unknown(host_id)
        return answer(host_view.host(found))

    @route("GET", "/hosts/{host_id}/installs/{version}/log", query=job_wire.LogQuery, gives=job_view.LogPiece)
    def get_install_log(host_id: str, version: str) -> Response:
        """A piece of what an install has printed on a host, while it runs and after: from a byte on, at most 256 KiB."""
        found = explain.find_host(wiring.plane(), asked(host_id))
        if found is None:
            raise _unknown(host_id)
        if all(one.version != version for one in found.installs):
            raise NotFound(
                f"host {host_id} has run no install {version[:64]}; its document lists those that it has run"
            )
        query = wire.query(bp.current_request.query_params, job_wire.LogQuery)
        return answer(job_view.log(logs.of_install(wiring.plane(), found, version, query.from_)))

    @route("GET", "/hosts/{host_id}/story", gives=explain_view.StoryView)
    def get_host_story(host_id: str) -> Response:
        """What happened to a host, and why; outlives its row by 30 days."""
        plane = wiring.plane()
        lines = story.of_host(plane, asked(host_id), explain.find_host(plane, host_id))
        if not lines:
            raise _unknown(host_id)
        return answer(explain_view.story(lines))

    @route("GET", "/hosts/{host_id}/why", gives=explain_view.WhyView)
    def get_host_why(host_id: str) -> Response:
        """Why a host is where it is, in sentences."""
        why = explain.host(wiring.plane(), asked(host_id))
        if why is None:
            raise _unknown(host_id)
        return answer(explain_view.why(why))

    @route("GET", "/pools/{pool}/story", gives=explain_view.StoryView)
    def get_pool_story(pool: str) -> Response:
        """What happened to a pool: targets, settings, refusals."""
        return answer(explain_view.story(story.of_pool(wiring.plane(), operated(pool).name)))

    @route("GET", "/settings/story", gives=explain_view.StoryView)
    def get_settings_story() -> Response:
        """Who changed the stage's defaults, and how."""
        who().must_run_things()
        return answer(explain_view.story(story.of_settings(wiring.plane())))

    @route("GET", "/pools/{pool}/plan", gives=explain_view.PlanView)
    def get_plan(pool: str) -> Response:
        """What a pass would do now; nothing is done."""
        return answer(explain_view.plan(explain.plan(wiring.plane(), operated(pool))))

    @route("GET", "/pools/{pool}/invariants", gives=explain_view.InvariantsView)
    def get_invariants(pool: str) -> Response:
        """What does not hold of all that must."""
        broken = explain.broken(wiring.plane(), operated(pool))
        return answer(explain_view.InvariantsView(ok=not broken, broken=broken))

    return bp


def _unknown(host_id: str) -> NotFound:
    return NotFound(f"there is no host {host_id[:64]}; one that is over has a story for 30 days, at /hosts/ID/story")
