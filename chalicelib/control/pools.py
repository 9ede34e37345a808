"""Changing a pool's spec: versioned, and looked at at once."""

from __future__ import annotations

import re

from chalicelib.control.wake import wake
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.errors import Conflict
from chalicelib.wiring import Plane

NAME = re.compile(r"^[a-z0-9][a-z0-9-]{0,31}$")


def put(plane: Plane, name: str, spec: PoolSpec) -> Pool:
    """Create or replace. Raises Conflict where somebody else changed it in the same moment."""
    present = plane.stores.registry.pool(name)
    pool = plane.stores.registry.put_pool(name, spec, version=present.version if present else None)
    if pool is None:
        raise Conflict(f"pool {name} was changed by somebody else in the same moment; read it and try again")
    wake(plane, name)
    return pool
