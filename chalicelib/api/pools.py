"""Routes of pools and uploads. What changes a pool is in `settings.py`, what explains one in `hosts.py`."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import host_view, pool_view, pool_wire, stage_view, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.control import pools

UPLOAD_URL_S = 900


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    @route("GET", "/pools", gives=pool_view.PoolsView)
    def get_pools() -> Response:
        """All pools."""
        return answer(pool_view.PoolsView(items=[pool_view.pool(p) for p in wiring.plane().stores.registry.pools()]))

    @route("GET", "/pools/{pool}/hosts", query=pool_wire.HostsQuery, gives=host_view.HostsPage)
    def get_hosts(pool: str) -> Response:
        """The hosts of a pool, those that ended in the last hour, too, a page at a time."""
        who().must_run_things()
        asked = wire.query(bp.current_request.query_params, pool_wire.HostsQuery)
        hosts, _ = wiring.plane().stores.hosts.of_pool(pools.known(wiring.plane(), pool).name)
        return answer(host_view.page(hosts, frozenset(asked.state), asked.cursor or "", asked.limit))

    @route("POST", "/uploads", takes=wire.UploadWire, gives=stage_view.UploadView)
    def post_upload() -> Response:
        """Announce an upload: is it there already, and if not, where to PUT it."""
        upload = wire.decode(bp.current_request.raw_body, wire.UploadWire)
        blobs, key = wiring.plane().cloud.blobs, f"uploads/{upload.sha256}"
        if blobs.exists(key):
            return answer(stage_view.UploadView(sha256=upload.sha256, present=True, url=None, headers={}))
        url, headers = blobs.put_url(key, upload.sha256, UPLOAD_URL_S)
        return answer(stage_view.UploadView(sha256=upload.sha256, present=False, url=url, headers=headers))

    return bp
