"""What a host tells of the installs that it ran for jobs, and when a failing one is no longer the hosts' fault.

An install that fails makes its host unhealthy: it may be the host's mirror, disk or network. One that fails on several hosts and has
been ready on none since is the script's: the jobs that name it end with its sentence, uncharged, instead of burning host after host.
Both are derived from the hosts' rows, which outlive their hosts by an hour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

HOSTS_MAX = 3  # so many hosts may fail one install before its jobs end
RUNNING, READY, FAILED = "running", "ready", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """An install on a host. `version`: the digest of what is run; `tries`: the number of the present or last try; `at`: when it entered its
    state; `reason`: why it, or its last try, failed; `waiting`: keys of attempts that waited for it then."""

    version: str
    name: str
    state: str
    tries: int
    at: float
    reason: str = ""
    waiting: tuple[str, ...] = ()


class Row(Protocol):
    """What is asked of a host."""

    @property
    def id(self) -> str: ...

    @property
    def installs(self) -> tuple[Installed, ...]: ...


def failed_on(version: str, rows: Iterable[Row]) -> frozenset[str]:
    """The hosts on which this version failed since it was last ready anywhere."""
    seen = [(row.id, one) for row in rows for one in row.installs if one.version == version]
    ready_at = max((one.at for _, one in seen if one.state == READY), default=0.0)
    return frozenset(host for host, one in seen if one.state == FAILED and one.at > ready_at)


def failing(rows: Iterable[Row]) -> int:
    """On how many hosts any install failed since one was last ready."""
    seen = [(row.id, one) for row in rows for one in row.installs]
    ready_at = max((one.at for _, one in seen if one.state == READY), default=0.0)
    return len({host for host, one in seen if one.state == FAILED and one.at > ready_at})


def words(one: Installed) -> str:
    """Where it stands: "the install setup.sh (1f3a…) runs, try 2 of 3; before: …"."""
    name = f"the install {one.name} ({one.version[:8]})"
    before = f"; the try before failed: {one.reason}" if one.reason else ""
    match one.state:
        case "running":
            return f"{name} runs, try {one.tries}{before}"
        case "ready":
            return f"{name} is ready"
        case _:
            return f"{name} failed: {one.reason}"
