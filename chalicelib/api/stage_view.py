"""Uploads and health."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from chalicelib.api.view import View
from chalicelib.control.health import Check


class UploadView(View, frozen=True, kw_only=True):
    """Whether an upload is there already; if not, the signed URL to PUT it to, with these headers."""

    sha256: str
    present: bool
    url: str | None
    headers: Mapping[str, str]


class CheckView(View, frozen=True, kw_only=True):
    """What was seen of one part (`error`: what is wrong with it): the number of pools, how many messages each queue has, since when the
    pool that waits longest has not been looked at."""

    ok: bool
    error: str | UnsetType = UNSET
    pools: int | UnsetType = UNSET
    depths: Mapping[str, int] | UnsetType = UNSET
    oldest_s: float | UnsetType = UNSET


class HealthView(View, frozen=True, kw_only=True):
    """Whether the parts that everything hangs on answer."""

    ok: bool
    checks: Mapping[str, CheckView]


def health(checks: Mapping[str, Check]) -> HealthView:
    """A Health document."""
    shown = {
        part: CheckView(
            ok=check.ok,
            error=check.error or UNSET,
            pools=UNSET if check.pools is None else check.pools,
            depths=UNSET if check.depths is None else check.depths,
            oldest_s=UNSET if check.oldest_s is None else round(check.oldest_s, 3),
        )
        for part, check in checks.items()
    }
    return HealthView(ok=all(check.ok for check in checks.values()), checks=shown)
