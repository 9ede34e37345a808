"""Hosts, the claims of attempts on them, and the launch tokens of a region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from chalicelib.core.bucket import Ask, Taken
from chalicelib.core.host import Assignment, Host, HostEvent, Launch
from chalicelib.core.installs import Installed

HOST_FACTS = frozenset(
    {"seen_at", "rung_at", "retire_sent_at", "interrupt_at", "rebalance_at", "missed_lists", "holds", "secrets_at"}
)  # what Hosts.touch sets


def only(allowed: frozenset[str], facts: Mapping[str, Any]) -> None:
    """Refuse, with a TypeError, a fact that no row has: a misspelt name must not become a new attribute."""
    if unknown := facts.keys() - allowed:
        raise TypeError(f"unknown fact {', '.join(sorted(unknown))}; known are {', '.join(sorted(allowed))}")


class Hosts(Protocol):
    def create(self, hosts: Sequence[Host]) -> None:
        """Rows of a new launch (fresh ids, so no condition), batched by 25. A row's assignments are a map keyed `job#attempt`."""

    def register(self, host: Host) -> bool:
        """The row of one host that nobody launched by name; False if its id exists."""

    def get(self, pool: str, host_id: str) -> Host | None: ...

    def of_instance(self, instance_id: str) -> list[Host]:
        """The rows of an instance, whatever their pool: found by an index that is a moment late, each read as it is."""

    def of_pool(self, pool: str) -> tuple[list[Host], list[Launch]]:
        """Every host row and every launch row of the pool, all pages."""

    def put_launch(self, launch: Launch) -> bool:
        """False if it exists."""

    def forget(self, pool: str, ids: Sequence[str]) -> None:
        """Delete rows of hosts and launches that are over; batched by 25. DynamoDB itself may take days after `expires_at`."""

    def resend_launch(self, launch: Launch, again: Launch) -> bool:
        """Say that it is sent again: `sent_at` and `doubt_at` of `again`.

        False if another did so since `launch` was read, or it is recorded.
        """

    def narrow_launch(self, launch: Launch, narrower: Launch) -> bool:
        """Let the row ask for `narrower.hosts` only, under `narrower.token`, which nobody ever sent, in one write.

        False if another sends it since `launch` was read, or it is recorded.
        """

    def release_launch(self, launch: Launch) -> bool:
        """Say that nobody is sending it (`sent_at` = 0); False if another sends it since `launch` was read, or it is recorded."""

    def settle_launch(self, launch: Launch, expires_at: float) -> bool:
        """Mark it recorded and drop the user data; False if it already was."""

    def record(self, pool: str, host_id: str, instance_id: str, userid: str, at: float) -> bool:
        """Which instance it is, since when we know; True if it is that now (or already was), False if it is another or no row."""

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
        """Apply `event` if the row is in one of `sources(event)`; with `empty`, only if it carries no assignment.

        Sets state, entered_at, reason; HELLO also ready_at and seen_at.
        """

    def assign(self, pool: str, host_id: str, assignment: Assignment, *, share: bool = False) -> bool:
        """SET one assignment, and its owner as the host's domain, if the host is launching or ready, does not carry it yet, and is that
        owner's or nobody's; with `share` also where it is another's and carries nothing."""

    def unassign(self, pool: str, host_id: str, key: str, at: float) -> Host | None:
        """REMOVE one assignment and set freed_at; the row then, or None if it did not carry it."""

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
        """Set single fields of one assignment; False if the host does not carry it."""

    def touch(self, pool: str, host_id: str, **facts: Any) -> None:
        """SET facts without other condition than that the row exists: seen_at, rung_at, retire_sent_at, interrupt_at, rebalance_at,
        missed_lists, holds, secrets_at.

        None removes a fact.
        """

    def note_installs(self, pool: str, host_id: str, installs: tuple[Installed, ...], at: float) -> bool:
        """SET what its agent told of installs at its time `at`; False where a later word is known already, or there is no such host."""


class Claims(Protocol):
    def take(self, userid: str, job_id: str, attempt: int, *, by: str, at: float, expires_at: float) -> bool:
        """The one write that lets an attempt begin (by "agent") or takes it back (by "control"); True for the winner only."""

    def holder(self, userid: str, job_id: str, attempt: int) -> str | None:
        """Who won: "agent", "control" or nobody yet."""


class Buckets(Protocol):
    def take(self, region: str, asks: Sequence[Ask], now: float) -> Taken:
        """Tokens for launches in a region, from the one bucket that all pools share: as many as are asked for, or as there are.

        Who is overtaken again and again by others gets none, and may come again in half a second.
        """
