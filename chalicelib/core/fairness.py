"""Fairness between owners: start-time fair queueing, stamped at submission.

P. Goyal, H. Vin, H. Cheng, "Start-time Fair Queuing" (SIGCOMM 1996), after L. Zhang's virtual clock (SIGCOMM 1990). Each owner has, in
each pool and priority class, a virtual finish F. A new job of cost c gets the start tag S = max(v, F) and leaves F = S + c; jobs are
served in order of their tags, which is the order of the backlog. v, the pool's virtual clock, is the tag of what is being served: an
owner who comes anew starts where service stands now, behind nobody's future work; owners who always have work waiting get equal
shares of the hosts, to within one job of each (their theorem 1), whatever the numbers and lengths of their jobs.

Zhang's clock is the wall's. Ours is the served tag, because a pool's speed changes all the time: by a wall clock an owner would be
punished for work that took less than was believed, and have precedence where the pool was slower than believed. By the served tag
an owner whose jobs all were served is at most its last job's cost ahead of the clock, however much it had of an idle pool. Only
jobs that were never served, because they were cancelled, stay charged; `FORGET_S` bounds that. A job is charged what is believed of
it when it is submitted: owners whose jobs are believed wrongly, each in another way, share in that proportion, but nobody starves.

Virtual seconds are host-seconds: how long a job is believed to take × the largest of its shares of a host's cpu, memory and slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.job_spec import Reservation

COST_MIN = 0.001  # ranks have milliseconds: less would leave jobs in one place
FORGET_S = 3600.0  # after its last submission, an owner is new again: bounds what a cancelled flood costs its owner


def cost(reservation: Reservation, expected_s: float, host: Capacity) -> float:
    """What a job takes of a pool, in host-seconds: its dominant share of one host, for as long as it is believed to run."""
    shares = (
        reservation.cpu / host.cpu,
        reservation.memory_mib / host.memory_mib,
        reservation.slots / host.slots,
    )
    return max(COST_MIN, expected_s * max(shares))


def starts(first: float, costs: Iterable[float]) -> Iterator[float]:
    """The start tags of jobs that follow each other, the first of which starts at `first`."""
    at = first
    for each in costs:
        yield at
        at += each


def place_of(rank: str) -> tuple[str, float]:
    """The priority class of a rank (its key in a pool's clocks), and its start tag."""
    priority, milliseconds, *_ = rank.split("#")
    return str(int(priority)), int(milliseconds) / 1000


def clocks(before: Mapping[str, float], seen: Sequence[Entry], placed: Iterable[Entry]) -> dict[str, float]:
    """The pool's virtual clocks by priority class, after a pass that saw the entries `seen` (in order of rank) and placed some of them.

    A clock stands at the first tag that still waits, and where nothing waits at the last that was placed. It never goes back, so that a
    repeated job with its old tag changes nothing. What is passed over because it does not fit holds its clock, until it has aged.
    """
    ranks = {entry.rank for entry in placed}
    waiting: dict[str, float] = {}
    served: dict[str, float] = {}
    for entry in seen:
        priority, tag = place_of(entry.rank)
        if entry.rank in ranks:
            served[priority] = max(tag, served.get(priority, tag))
        else:
            waiting[priority] = min(tag, waiting.get(priority, tag))
    after = dict(before)
    for priority, tag in (served | waiting).items():
        after[priority] = max(tag, after.get(priority, 0.0))
    return after
