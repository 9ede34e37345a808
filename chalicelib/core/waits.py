"""What each job that found no place is waiting for, in a sentence: which offering is tried for it, and what comes next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from chalicelib.core import ladder
from chalicelib.core.backlog import Entry
from chalicelib.core.constraint import Constraint
from chalicelib.core.placement import FREE
from chalicelib.core.plan import Target
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.staffing import some

T = TypeVar("T")

NOBODY: Mapping[str | None, int] = {}
FIRST = 5  # in line: they are told at every pass


def waits(
    s: Snapshot,
    waiting: Iterable[Entry],
    begins: Mapping[str, float],
    target: Target,
    full: bool,
    bound: Mapping[str, Constraint] = FREE,
    elsewhere: Mapping[str | None, int] = NOBODY,
) -> Iterator[tuple[Entry, str]]:
    """What each job that found no place is waiting for, as a sentence. `begins`: rank → when it is believed to begin, where it is.

    `full`: no further host may be had, whatever is offered. `bound`: of core/ladder.py. `elsewhere`: owner → how many idle hosts serve only
    that one.
    """
    spec = s.pool.spec
    rungs = ladder.rungs(s)
    protected = ladder.protection(s) if s.pool.supply.protected_at is not None else ""
    known: dict[tuple[float, int, int, Constraint | None], tuple[bool, str]] = {}
    soon: dict[int, str] = {}
    for entry in waiting:
        if (begins_at := begins.get(entry.rank)) is not None:
            in_s = max(1, round(begins_at - s.now))
            if in_s not in soon:
                soon[in_s] = f"it fits on a host that is there, in about {in_s} s"
            yield entry, soon[in_s]
            continue
        must = bound.get(entry.rank) if bound else None
        shape = (entry.cpu, entry.memory_mib, entry.slots, must)
        if shape not in known:
            its = [rung for rung in rungs if rung.holds(entry) and (must is None or must.takes(rung.offering))]
            tried = (
                ladder.words(its)
                if its or must is None
                else f"no offering of the pool that it may go to ({must}) is large enough for it"
            )
            known[shape] = any(not rung.closed_until for rung in its), tried
        is_open, tried = known[shape]
        again = ladder.backed_up(entry, must)
        if spec.killed:
            yield entry, f"the pool has no hosts: {target.why}"
        elif not is_open:
            yield entry, f"{again}{tried}"
        elif not spec.scaling_enabled:
            yield entry, "scaling of this pool is switched off, and no host that is there has room for it"
        elif protected:
            yield entry, f"{again}{protected}; {tried}"
        elif full:
            yield (
                entry,
                f"{again}all {spec.hosts_max} hosts that the pool may have are taken{_others(entry, elsewhere)}",
            )
        else:
            where = f" that it may go to ({must})" if must is not None and not again else ""
            others = _others(entry, elsewhere)
            yield entry, f"{again}no host{where} has room for it{others}; {target.why}; {tried}"


def _others(entry: Entry, elsewhere: Mapping[str | None, int]) -> str:
    """The end of a clause: that there are idle hosts which are none for it."""
    idle = sum(elsewhere.values()) - elsewhere.get(entry.owner, 0)
    return f", and {some(idle, 'idle one')} may serve only other owners (share_hosts is off)" if idle else ""


def by_turns(waits: Sequence[T], pass_no: int, told_max: int) -> Sequence[T]:
    """Who is told at this pass what it waits for, as telling is a write each: the first in line, and the others one after the other."""
    first, rest, share = waits[:FIRST], waits[FIRST:], told_max - FIRST
    turn = pass_no * share % max(1, len(rest))
    return [*first, *[*rest[turn : turn + share], *rest[:turn]][:share]]
