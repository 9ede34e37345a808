"""Hosts and launches in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import Lock
from typing import Any

from chalicelib.core.host import WORKING, Assignment, Host, HostEvent, Launch, sources, target
from chalicelib.core.installs import Installed
from chalicelib.store.ports import HOST_FACTS, only


class MemoryHosts:
    """`ports.Hosts`: host rows and launch rows by pool."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._hosts: dict[str, dict[str, Host]] = {}
        self._launches: dict[str, dict[str, Launch]] = {}
        self.expires: dict[tuple[str, str], float] = {}

    def create(self, hosts: Sequence[Host]) -> None:
        with self._lock:
            for host in hosts:
                self._hosts.setdefault(host.pool, {})[host.id] = host

    def register(self, host: Host) -> bool:
        with self._lock:
            hosts = self._hosts.setdefault(host.pool, {})
            if host.id in hosts:
                return False
            hosts[host.id] = host
            return True

    def get(self, pool: str, host_id: str) -> Host | None:
        with self._lock:
            return self._hosts.get(pool, {}).get(host_id)

    def of_instance(self, instance_id: str) -> list[Host]:
        with self._lock:
            rows = [host for hosts in self._hosts.values() for host in hosts.values()]
            return [host for host in rows if host.instance_id == instance_id]

    def of_pool(self, pool: str) -> tuple[list[Host], list[Launch]]:
        with self._lock:
            hosts, launches = self._hosts.get(pool, {}), self._launches.get(pool, {})
            return [hosts[i] for i in sorted(hosts)], [launches[i] for i in sorted(launches)]

    def put_launch(self, launch: Launch) -> bool:
        with self._lock:
            launches = self._launches.setdefault(launch.pool, {})
            if launch.id in launches:
                return False
            launches[launch.id] = launch
            return True

    def forget(self, pool: str, ids: Sequence[str]) -> None:
        with self._lock:
            for row_id in ids:
                self._hosts.get(pool, {}).pop(row_id, None)
                self._launches.get(pool, {}).pop(row_id, None)

    def resend_launch(self, launch: Launch, again: Launch) -> bool:
        with self._lock:
            return self._send(launch, sent_at=again.sent_at, doubt_at=again.doubt_at)

    def narrow_launch(self, launch: Launch, narrower: Launch) -> bool:
        with self._lock:
            return self._send(
                launch, hosts=narrower.hosts, tries=narrower.tries, sent_at=narrower.sent_at, doubt_at=0.0
            )

    def release_launch(self, launch: Launch) -> bool:
        with self._lock:
            return self._send(launch, sent_at=0.0)

    def _send(self, launch: Launch, **changes: Any) -> bool:
        row = self._launches.get(launch.pool, {}).get(launch.id)
        if row is None or row.recorded or (row.sent_at, row.tries) != (launch.sent_at, launch.tries):
            return False
        self._launches[launch.pool][launch.id] = replace(row, **changes)
        return True

    def settle_launch(self, launch: Launch, expires_at: float) -> bool:
        with self._lock:
            row = self._launches.get(launch.pool, {}).get(launch.id)
            if row is None or row.recorded:
                return False
            self._launches[launch.pool][launch.id] = replace(row, recorded=True, user_data=b"")
            self.expires[launch.pool, launch.id] = expires_at
            return True

    def record(self, pool: str, host_id: str, instance_id: str, userid: str, at: float) -> bool:
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is None or host.instance_id not in (None, instance_id):
                return False
            self._hosts[pool][host_id] = replace(host, instance_id=instance_id, userid=userid, recorded_at=at)
            return True

    def move(
        self,
        pool: str,
        host_id: str,
        event: HostEvent,
        *,
        at: float,
        reason: str,
        empty: bool = False,
        expires_at: float | None = None,
    ) -> Host | None:
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is None or host.state not in sources(event) or (empty and host.assignments):
                return None
            host = replace(host, state=target(event), entered_at=at, reason=reason)
            if event == HostEvent.HELLO:
                host = replace(host, ready_at=at, seen_at=at)
            self._hosts[pool][host_id] = host
            if expires_at is not None:
                self.expires[pool, host_id] = expires_at
            return host

    def assign(self, pool: str, host_id: str, assignment: Assignment, *, share: bool = False) -> bool:
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is None or host.state not in WORKING or assignment.key in (a.key for a in host.assignments):
                return False
            if host.domain not in (None, assignment.owner) and (host.assignments or not share):
                return False
            carried = sorted((*host.assignments, assignment), key=lambda a: a.key)
            self._hosts[pool][host_id] = replace(host, domain=assignment.owner, assignments=tuple(carried))
            return True

    def unassign(self, pool: str, host_id: str, key: str, at: float) -> Host | None:
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is None or key not in (a.key for a in host.assignments):
                return None
            kept = tuple(a for a in host.assignments if a.key != key)
            host = self._hosts[pool][host_id] = replace(host, assignments=kept, freed_at=at)
            return host

    def mark(
        self,
        pool: str,
        host_id: str,
        key: str,
        *,
        accepted_at: float | None = None,
        started_at: float | None = None,
        cancel: bool = False,
        ready_at: float | None = None,
        address: str | None = None,
    ) -> bool:
        given = {
            "accepted_at": accepted_at,
            "started_at": started_at,
            "cancel": cancel or None,
            "ready_at": ready_at,
            "address": address,
        }
        fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if not fields:
            raise ValueError("mark needs a field: accepted_at, started_at, cancel, ready_at or address")
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is None or key not in (a.key for a in host.assignments):
                return False
            marked = tuple(replace(a, **fields) if a.key == key else a for a in host.assignments)
            self._hosts[pool][host_id] = replace(host, assignments=marked)
            return True

    def touch(self, pool: str, host_id: str, **facts: Any) -> None:
        only(HOST_FACTS, facts)
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is not None:
                self._hosts[pool][host_id] = replace(host, **facts)

    def note_installs(self, pool: str, host_id: str, installs: tuple[Installed, ...], at: float) -> bool:
        with self._lock:
            host = self._hosts.get(pool, {}).get(host_id)
            if host is None or host.installs_at >= at:
                return False
            self._hosts[pool][host_id] = replace(host, installs=installs, installs_at=at)
            return True
