"""Spillway's client: SDK and CLI. Talks HTTP only.

from spillway import Client

with Client("https://…/api", "spw_…") as spillway:
    job = spillway.submit("./grade.sh alice", timeout_s=60, inputs=[spillway.upload("tests")])
    [job] = spillway.wait([job.id])
    print(job.state, job.result)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spillway.client import Client as Client
    from spillway.errors import SpillwayError as SpillwayError
    from spillway.records import Host as Host
    from spillway.records import Job as Job
    from spillway.records import Pool as Pool

__all__ = ["Client", "Host", "Job", "Pool", "SpillwayError"]

_HOME = {"Client": "client", "SpillwayError": "errors", "Host": "records", "Job": "records", "Pool": "records"}


def __getattr__(name: str) -> Any:
    """Public names load on first use: `spillway --help` must not wait for the HTTP library."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"spillway.{_HOME[name]}"), name)
    raise AttributeError(f"module 'spillway' has no attribute {name!r}")
