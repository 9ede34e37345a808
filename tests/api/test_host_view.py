"""Hosts are answered a page at a time."""

from __future__ import annotations

from chalicelib.api.host_view import page
from chalicelib.core.host import Host, HostState, Offering


def a_host(number: int, state: HostState = HostState.READY) -> Host:
    return Host(
        id=f"host-{number:04d}",
        pool="p",
        state=state,
        offering=Offering(region="us-east-1", instance_type="c7i.large"),
        launch="launch-1",
        launch_index=number,
        cpu=2.0,
        memory_mib=4096,
        slots=2,
        launched_at=1.0,
    )


def test_pages_of_hosts_are_all_that_fit_once_each_by_id() -> None:
    """The last page has no cursor, also where it is full."""
    hosts = [a_host(n, HostState.TERMINATED if n % 3 else HostState.READY) for n in (5, 3, 0, 8, 6, 1, 9)]
    for states in (frozenset[HostState](), frozenset({HostState.READY})):
        found, after = [], ""
        while True:
            part = page(hosts, states, after, 2)
            found += [host.id for host in part.items]
            if part.next is None:
                break
            assert part.next == found[-1]
            after = part.next
        assert found == sorted(h.id for h in hosts if not states or h.state in states)
