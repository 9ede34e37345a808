"""Hosts and launches in DynamoDB. Nobody saves a host row whole: every write sets or removes single attributes, and most name the
state they leave. Assignments are a map in the row, so that an assignment is one conditional write to one entry of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action

from chalicelib.core.host import WORKING, Assignment, Host, HostEvent, HostState, Launch, sources, target
from chalicelib.core.installs import Installed
from chalicelib.store.attributes import assignment_map
from chalicelib.store.batches import read_all, write_batch
from chalicelib.store.connection import ConditionFailed, done
from chalicelib.store.ports import HOST_FACTS, only
from chalicelib.store.tables import HostRow, LaunchRow


class DynamoHosts:
    """`ports.Hosts` over the hosts table."""

    def __init__(self, row: type[HostRow], launch: type[LaunchRow]) -> None:
        self._row, self._launch = row, launch

    def create(self, hosts: Sequence[Host]) -> None:
        write_batch(self._row, puts=map(self._of, hosts))

    def register(self, host: Host) -> bool:
        return done(lambda: self._of(host).save(condition=self._row.id.does_not_exist()))

    def get(self, pool: str, host_id: str) -> Host | None:
        try:
            return _host(self._row.get(pool, host_id, consistent_read=True))
        except self._row.DoesNotExist:
            return None

    def of_instance(self, instance_id: str) -> list[Host]:
        keys = [(row.pool, row.id) for row in self._row.by_instance.query(instance_id)]
        return [host for key in keys if (host := self.get(*key)) is not None]

    def of_pool(self, pool: str) -> tuple[list[Host], list[Launch]]:
        hosts: list[Host] = []
        launches: list[Launch] = []
        for item in read_all(self._row, pool):
            if item["id"]["S"].startswith("launch-"):
                launches.append(_launch(self._launch.from_raw_data(item)))
            else:
                hosts.append(_host(self._row.from_raw_data(item)))
        return hosts, launches

    def put_launch(self, launch: Launch) -> bool:
        row = self._launch(
            launch.pool,
            launch.id,
            offering=launch.offering,
            hosts=launch.hosts,
            user_data=launch.user_data or None,
            image=launch.image,
            template=launch.template,
            created_at=launch.created_at,
            sent_at=launch.sent_at,
            doubt_at=launch.doubt_at,
            tries=launch.tries,
            whole=launch.whole or None,
            recorded=launch.recorded,
        )
        return done(lambda: row.save(condition=self._launch.id.does_not_exist()))

    def forget(self, pool: str, ids: Sequence[str]) -> None:
        write_batch(self._row, deletes=[{"pool": pool, "id": row_id} for row_id in dict.fromkeys(ids)])

    def resend_launch(self, launch: Launch, again: Launch) -> bool:
        row = self._launch
        return self._send(launch, [row.sent_at.set(again.sent_at), row.doubt_at.set(again.doubt_at)])

    def narrow_launch(self, launch: Launch, narrower: Launch) -> bool:
        row = self._launch
        changes: list[Action] = [row.hosts.set(narrower.hosts), row.tries.set(narrower.tries)]
        return self._send(launch, [*changes, row.sent_at.set(narrower.sent_at), row.doubt_at.set(0.0)])

    def release_launch(self, launch: Launch) -> bool:
        return self._send(launch, [self._launch.sent_at.set(0.0)])

    def _send(self, launch: Launch, changes: list[Action]) -> bool:
        """Change a launch that nobody but the reader of `launch` is sending."""
        row = self._launch
        same: Condition = (row.sent_at == launch.sent_at) & (row.tries == launch.tries)
        same &= row.recorded == False  # noqa: E712  # an expression
        return done(lambda: row(launch.pool, launch.id).update(changes, condition=same))

    def settle_launch(self, launch: Launch, expires_at: float) -> bool:
        row = self._launch
        changes: list[Action] = [row.recorded.set(True), row.user_data.remove(), row.expires_at.set(expires_at)]
        try:
            row(launch.pool, launch.id).update(changes, condition=row.recorded == False)  # noqa: E712  # an expression
        except ConditionFailed:
            return False
        return True

    def record(self, pool: str, host_id: str, instance_id: str, userid: str, at: float) -> bool:
        row = self._row
        changes: list[Action] = [row.instance_id.set(instance_id), row.userid.set(userid), row.recorded_at.set(at)]
        free = row.instance_id.does_not_exist() | (row.instance_id == instance_id)
        return self._change(pool, host_id, changes, row.id.exists() & free) is not None

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
        row = self._row
        changes: list[Action] = [
            row.state.set(str(target(event))),
            row.entered_at.set(at),
            row.reason.set(reason),
        ]
        if event == HostEvent.HELLO:
            changes += [row.ready_at.set(at), row.seen_at.set(at)]
        if expires_at is not None:
            changes.append(row.expires_at.set(expires_at))
        condition: Condition = row.state.is_in(*map(str, sources(event)))
        if empty:
            condition &= row.assignments == {}
        return self._change(pool, host_id, changes, condition)

    def assign(self, pool: str, host_id: str, assignment: Assignment, *, share: bool = False) -> bool:
        row, place = self._row, self._row.assignments[assignment.key]
        serves: Condition = row.domain.does_not_exist() | (row.domain == assignment.owner)
        if share:
            serves |= row.assignments == {}
        free = row.state.is_in(*map(str, WORKING)) & place.does_not_exist() & serves
        changes: list[Action] = [place.set(assignment_map(assignment)), row.domain.set(assignment.owner)]
        return self._change(pool, host_id, changes, free) is not None

    def unassign(self, pool: str, host_id: str, key: str, at: float) -> Host | None:
        place = self._row.assignments[key]
        return self._change(pool, host_id, [place.remove(), self._row.freed_at.set(at)], place.exists())

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
        place = self._row.assignments[key]
        given = {
            "accepted_at": accepted_at,
            "started_at": started_at,
            "cancel": cancel or None,
            "ready_at": ready_at,
            "address": address,
        }
        changes: list[Action] = [place[name].set(value) for name, value in given.items() if value is not None]
        if not changes:
            raise ValueError("mark needs a field: accepted_at, started_at, cancel, ready_at or address")
        return self._change(pool, host_id, changes, place.exists()) is not None

    def touch(self, pool: str, host_id: str, **facts: Any) -> None:
        only(HOST_FACTS, facts)
        attributes = self._row.get_attributes()
        changes: list[Action] = [
            attributes[name].remove() if value is None else attributes[name].set(value) for name, value in facts.items()
        ]
        if changes:
            self._change(pool, host_id, changes, self._row.id.exists())

    def note_installs(self, pool: str, host_id: str, installs: tuple[Installed, ...], at: float) -> bool:
        row = self._row
        news = row.id.exists() & (row.installs_at.does_not_exist() | (row.installs_at < at))
        return self._change(pool, host_id, [row.installs.set(installs), row.installs_at.set(at)], news) is not None

    def _change(self, pool: str, host_id: str, changes: list[Action], condition: Condition) -> Host | None:
        row = self._row(pool, host_id)
        return _host(row) if done(lambda: row.update(changes, condition=condition)) else None

    def _of(self, host: Host) -> HostRow:
        return self._row(
            host.pool,
            host.id,
            state=str(host.state),
            offering=host.offering,
            launch=host.launch,
            launch_index=host.launch_index,
            cpu=host.cpu,
            memory_mib=host.memory_mib,
            slots=host.slots,
            launched_at=host.launched_at,
            generation=host.generation,
            instance_id=host.instance_id,
            userid=host.userid,
            entered_at=host.entered_at,
            ready_at=host.ready_at,
            seen_at=host.seen_at,
            freed_at=host.freed_at,
            rung_at=host.rung_at,
            retire_sent_at=host.retire_sent_at,
            secrets_at=host.secrets_at,
            interrupt_at=host.interrupt_at,
            rebalance_at=host.rebalance_at,
            recorded_at=host.recorded_at,
            domain=host.domain,
            holds=host.holds,
            installs=host.installs,
            installs_at=host.installs_at,
            missed_lists=host.missed_lists,
            reason=host.reason,
            assignments={a.key: a for a in host.assignments},
        )


def _host(row: HostRow) -> Host:
    return Host(
        id=row.id,
        pool=row.pool,
        state=HostState(row.state),
        offering=row.offering,
        launch=row.launch,
        launch_index=row.launch_index,
        cpu=row.cpu,
        memory_mib=row.memory_mib,
        slots=row.slots,
        launched_at=row.launched_at,
        generation=row.generation,
        instance_id=row.instance_id,
        userid=row.userid,
        entered_at=row.entered_at,
        ready_at=row.ready_at,
        seen_at=row.seen_at,
        freed_at=row.freed_at,
        rung_at=row.rung_at,
        retire_sent_at=row.retire_sent_at,
        secrets_at=row.secrets_at,
        interrupt_at=row.interrupt_at,
        rebalance_at=row.rebalance_at,
        recorded_at=row.recorded_at,
        domain=row.domain,
        holds=row.holds,
        installs=row.installs,
        installs_at=row.installs_at,
        missed_lists=row.missed_lists,
        reason=row.reason,
        assignments=tuple(row.assignments[key] for key in sorted(row.assignments)),
    )


def _launch(row: LaunchRow) -> Launch:
    return Launch(
        id=row.id,
        pool=row.pool,
        offering=row.offering,
        hosts=row.hosts,
        user_data=row.user_data or b"",
        image=row.image,
        template=row.template,
        created_at=row.created_at,
        sent_at=row.sent_at,
        doubt_at=row.doubt_at,
        tries=row.tries,
        whole=bool(row.whole),
        recorded=row.recorded,
    )
