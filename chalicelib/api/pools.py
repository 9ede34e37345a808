"""Routes of pools, uploads, and health. What changes a pool is in `settings.py`, what explains one in `hosts.py`."""

from __future__ import annotations

from typing import Any

from chalice import Blueprint, Response  # type: ignore[attr-defined]

from chalicelib import wiring
from chalicelib.api import views, wire
from chalicelib.api.answers import answer, router
from chalicelib.api.auth import Caller, caller
from chalicelib.control import health, pools

UPLOAD_URL_S = 900


def routes(authorizer: Any) -> Blueprint:
    """The blueprint; routes only: event handlers would be invoked without app.py."""
    bp = Blueprint(__name__)
    route = router(bp, authorizer)

    def who() -> Caller:
        return caller(bp.current_request.context)

    @route("GET", "/pools")
    def get_pools() -> Response:
        return answer({"items": [views.pool(p) for p in wiring.plane().stores.registry.pools()]})

    @route("GET", "/pools/{pool}/hosts")
    def get_hosts(pool: str) -> Response:
        who().must_run_things()
        hosts, _ = wiring.plane().stores.hosts.of_pool(pools.known(wiring.plane(), pool).name)
        return answer({"items": [views.host(h) for h in hosts]})

    @route("POST", "/uploads")
    def post_upload() -> Response:
        upload = wire.decode(bp.current_request.raw_body, wire.UploadWire)
        blobs, key = wiring.plane().cloud.blobs, f"uploads/{upload.sha256}"
        if blobs.exists(key):
            return answer({"sha256": upload.sha256, "present": True, "url": None, "headers": {}})
        url, headers = blobs.put_url(key, upload.sha256, UPLOAD_URL_S)
        return answer({"sha256": upload.sha256, "present": False, "url": url, "headers": dict(headers)})

    @route("GET", "/healthz", public=True)
    def healthz() -> Response:
        checks = health.check(wiring.plane())
        ok = all(c["ok"] for c in checks.values())
        return answer({"ok": ok, "checks": checks}, 200 if ok else 503)

    return bp
