"""Uploads and health."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, UnsetType

from chalicelib.api.view import View


class UploadView(View, frozen=True, kw_only=True):
    """Whether an upload is there already; if not, the signed URL to PUT it to, with these headers."""

    sha256: str
    present: bool
    url: str | None
    headers: Mapping[str, str]


class CheckView(View, frozen=True, kw_only=True):
    """What was seen of one part, or what is wrong with it."""

    ok: bool
    error: str | UnsetType = UNSET
    pools: int | UnsetType = UNSET
    depths: Mapping[str, int] | UnsetType = UNSET


class HealthView(View, frozen=True, kw_only=True):
    """Whether the parts that everything hangs on answer."""

    ok: bool
    checks: Mapping[str, CheckView]
