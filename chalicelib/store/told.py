"""Stores that tell the story: every change of state that succeeds leaves a line, whoever made it.

A change is told where it is written, so no use-case can forget it and a lost race tells nothing. The lines wait in the teller's buffer and
are written together at the end of the invocation, 25 in a request: a batch of pings costs one further request, not one for each
line. The story is not the truth - the rows are -, so a function that dies before its end loses its lines, and a story that
cannot be written now is kept for the next invocation of this process and fails nothing.

What is told: every `jobs.move`, every `hosts.move`, every host that is created, and what use-cases say in words (`Teller.tell`).
What is not: submissions. A job's row remembers for ever when it was submitted, and a batch of 500 would cost 20 requests more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from chalicelib.core.arrays import Array, ArrayEvent
from chalicelib.core.host import Host, HostEvent
from chalicelib.core.job import Job, JobEvent
from chalicelib.core.story import Line
from chalicelib.store.ports import Arrays, Hosts, Jobs, Stores, Story

STORY_TTL_S = 30 * 86_400.0
SAME_WITHIN_S = 60.0  # a sentence that is said again to the same subject so soon is told once
LINES_PER_REQUEST = 25
HELD_MAX = 1000  # lines that wait for a table which does not answer; the oldest go first
REASON_MAX = 1000  # characters: an agent may have said more


class Teller:
    """The lines of one process that are not written yet."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._lines: list[Line] = []
        self._last: dict[str, Line] = {}  # subject → what was last told of it here

    def tell(self, line: Line) -> None:
        """Say something; not again within a minute, where nothing else was said of that subject in between."""
        last = self._last.get(line.subject)
        if last and (last.event, last.reason) == (line.event, line.reason) and line.at - last.at <= SAME_WITHIN_S:
            return
        self.changed(line)

    def changed(self, line: Line) -> None:
        """A change of state, which a conditional write made: it cannot have been told before, even if the words are the same."""
        if len(self._last) >= HELD_MAX:
            self._last.clear()
        if len(line.reason) > REASON_MAX:
            line = replace(line, reason=f"{line.reason[: REASON_MAX - 1]}…")
        self._last[line.subject] = line
        self._lines.append(line)

    def forget(self) -> None:
        """Give up what is held, as the end of the process would."""
        self._lines.clear()

    def flush(self) -> int:
        """Write what is held; how many lines. Raises StoreUnavailable, and keeps for the next time what was not written."""
        del self._lines[:-HELD_MAX]
        written = 0
        while self._lines:
            page = self._lines[:LINES_PER_REQUEST]
            self._story.append(page, max(line.at for line in page) + STORY_TTL_S)
            del self._lines[: len(page)]
            written += len(page)
        return written


class ToldJobs:
    """`ports.Jobs` that tells its moves; all the rest is the other's."""

    def __init__(self, jobs: Jobs, teller: Teller) -> None:
        self._jobs = jobs
        self._teller = teller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jobs, name)

    def put(self, job: Job, expires_at: float | None = None) -> bool:
        """A new job tells nothing, but an element of an array, which begins its life on a host."""
        put = self._jobs.put(job, expires_at)
        if put and job.array is not None:
            self._teller.changed(
                Line(at=job.entered[job.state], subject=job.id, event=str(job.state), reason=job.reason)
            )
        return put

    def move(self, job_id: str, event: JobEvent, *, at: float, reason: str, **facts: Any) -> Job | None:
        moved = self._jobs.move(job_id, event, at=at, reason=reason, **facts)
        if moved is not None:
            # A start is dated by its agent's clock: no line may stand before the change that it follows.
            at = max(at, *moved.entered.values())
            self._teller.changed(Line(at=at, subject=job_id, event=str(moved.state), reason=reason))
        return moved


class ToldArrays:
    """`ports.Arrays` that tells its moves; all the rest is the other's."""

    def __init__(self, arrays: Arrays, teller: Teller) -> None:
        self._arrays = arrays
        self._teller = teller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._arrays, name)

    def move(self, array_id: str, event: ArrayEvent, *, at: float, reason: str, **facts: Any) -> Array | None:
        moved = self._arrays.move(array_id, event, at=at, reason=reason, **facts)
        if moved is not None:
            self._teller.changed(Line(at=at, subject=array_id, event=str(moved.state), reason=reason))
        return moved


class ToldHosts:
    """`ports.Hosts` that tells its moves and new rows; all the rest is the other's."""

    def __init__(self, hosts: Hosts, teller: Teller) -> None:
        self._hosts = hosts
        self._teller = teller

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hosts, name)

    def create(self, hosts: Sequence[Host]) -> None:
        self._hosts.create(hosts)
        for host in hosts:
            self._teller.changed(Line(at=host.entered_at, subject=host.id, event=str(host.state), reason=host.reason))

    def register(self, host: Host) -> bool:
        registered = self._hosts.register(host)
        if registered:
            self._teller.changed(Line(at=host.entered_at, subject=host.id, event=str(host.state), reason=host.reason))
        return registered

    def move(self, pool: str, host_id: str, event: HostEvent, *, at: float, reason: str, **facts: Any) -> Host | None:
        moved = self._hosts.move(pool, host_id, event, at=at, reason=reason, **facts)
        if moved is not None:
            self._teller.changed(Line(at=at, subject=host_id, event=str(moved.state), reason=reason))
        return moved


@dataclass(frozen=True, slots=True)
class ToldStores(Stores):
    """All tables of a stage, and who tells what changes in them."""

    teller: Teller


def told(stores: Stores) -> ToldStores:
    """The same tables, telling."""
    teller = Teller(stores.story)
    parts: dict[str, Any] = {field.name: getattr(stores, field.name) for field in fields(Stores)}
    parts["jobs"] = cast(Jobs, ToldJobs(stores.jobs, teller))
    parts["arrays"] = cast(Arrays, ToldArrays(stores.arrays, teller))
    parts["hosts"] = cast(Hosts, ToldHosts(stores.hosts, teller))
    return ToldStores(**parts, teller=teller)
