"""What bootstrap writes into the registry: the stage's settings, the pool `default`, the first admin token."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from chalicelib.core.host import Offering
from chalicelib.core.pool import PoolSpec
from chalicelib.ids import new_token as fresh
from chalicelib.ids import token_hash
from chalicelib.store.ports import Registry, Token
from infra.terminal import Report

DEFAULT_POOL = "default"
DEFAULT_INSTANCE_TYPE = "c7i.large"
ADMIN = "admin"


def seed(
    registry: Registry,
    region: str,
    settings: Mapping[str, Any],
    *,
    known_token: str | None,
    new_token: bool,
    report: Report,
) -> str | None:
    """Write what is missing; the text of the admin token if one was made, which is the only time that it can be had.

    known_token: the token of the client's file. One that the registry does not know (another AWS account, a stage made anew) is replaced.
    """
    registry.put_setting("stage", settings)
    default = PoolSpec(offerings=(Offering(region=region, instance_type=DEFAULT_INSTANCE_TYPE),))
    if registry.put_pool(DEFAULT_POOL, default, version=None):
        report(f"registry: made the pool {DEFAULT_POOL} ({DEFAULT_INSTANCE_TYPE} on demand in {region})")
    if not new_token:
        if known_token and registry.token(token_hash(known_token)):
            return None
        if any(token.role == ADMIN and token.expires_at is None for token in registry.tokens()):
            report(
                "registry: there is an admin token, but its text is not here; if it is lost, run this again with --new-token"
            )
            return None
    text = fresh()
    registry.put_token(
        Token(sha256=token_hash(text), role=ADMIN, owner=ADMIN, created_at=time.time(), note="made by bootstrap")
    )
    report("registry: made an admin token")
    return text
