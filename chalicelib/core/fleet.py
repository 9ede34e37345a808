"""The hosts of a snapshot, sorted by what may be done with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.core import retirement
from chalicelib.core.backlog import Entry
from chalicelib.core.host import WORKING, Host, HostState
from chalicelib.core.placement import Room, room_of
from chalicelib.core.snapshot import Snapshot

EXCLUSIVE = frozenset({"one_per_job"})  # policies under which a host takes one job at a time
COUNTED = frozenset({HostState.LAUNCHING, HostState.READY, HostState.DRAINING, HostState.UNHEALTHY})
TIERS = {HostState.READY: 0, HostState.DRAINING: 1, HostState.LAUNCHING: 2}


@dataclass(frozen=True, slots=True)
class Fleet:
    """`hosts`: those that have not vanished. `rooms`: where work may go now; tiers: ready, draining (may be taken back), launching.

    `fit`: the hosts behind the rooms, by id. `rolled`: ready hosts whose turn it is to make place for a newer generation.
    """

    hosts: tuple[Host, ...]
    rooms: list[Room]
    fit: dict[str, Host]
    rolled: tuple[Host, ...]


def exclusive(s: Snapshot) -> bool:
    """Whether each host of the pool takes one job at a time."""
    return s.pool.spec.policy in EXCLUSIVE


def fleet_of(s: Snapshot, gone: set[str]) -> Fleet:
    """Sort the hosts; `gone` are ids that this plan declares vanished."""
    hosts = tuple(host for host in s.hosts if host.id not in gone)
    fit = {h.id: h for h in hosts if h.state in TIERS and retirement.unfit(h, s) is None}
    rolled = tuple(retirement.rolling(s, fit.values()))
    for host in rolled:
        del fit[host.id]
    alone, share = exclusive(s), s.pool.spec.share_hosts
    return Fleet(
        hosts=hosts,
        rooms=[room_of(host, TIERS[host.state], exclusive=alone, share=share) for host in fit.values()],
        fit=fit,
        rolled=rolled,
    )


def carried(hosts: Iterable[Host], backlog: Iterable[Entry]) -> dict[tuple[str, int], str]:
    """Waiting attempts (job, attempt) that a working host carries already, with that host: the trace of a crash between two writes."""
    there = {a.job for host in hosts if host.state in WORKING for a in host.assignments if a.rank is None}
    suspects = {entry.job for entry in backlog if entry.job in there}
    if not suspects:
        return {}
    found = {(a.job, a.attempt): h.id for h in hosts if h.state in WORKING for a in h.assignments if a.job in suspects}
    return {(e.job, e.attempt): found[e.job, e.attempt] for e in backlog if (e.job, e.attempt) in found}
