"""How soon a job may begin, told without a look at the pool: from what its last pass left on its row.

Theory of operation. A pass knows everything: what is free, what boots, what may still be launched, who waits. It leaves a summary of
that on the pool's row, in a write that it makes anyhow; who submits has that row in its memory. A job's place in the queue is told by its
rank: the summary has the ranks of up to `MARKS_MAX` of those who wait, evenly apart, so a place is right to within that share of them.
What was submitted since the pass is not counted. It is a guess, of which the order of magnitude is right; the plan made for
`GET /jobs/{id}/why` knows better, and costs a look at everything.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from chalicelib.core.job_spec import Reservation

MARKS_MAX = 20
MARK = 18  # characters of a rank: priority class and virtual time
WARM_S = 1.0  # from the submission to the command, on a host that is there and has room
BOOT_S = 45.0  # while nothing is learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """`room`: the largest that a ready host has free (cpu, MiB, slots). `coming`: how many average jobs hosts take that boot, or that may
    be launched now; `opens_at`: when one may be launched, where none may be now (None: nobody knows). `lanes`: how many average jobs run
    at a time when the pool has all hosts that it may have; `job_s`: how long one takes. `waiting`: who found no place, `marks` some of
    their ranks. `at`: when that was so; 0: never.
    """

    at: float = 0.0
    room: tuple[float, int, int] = (0.0, 0, 0)
    coming: float = 1.0  # the first job of a pool gets a host
    opens_at: float | None = 0.0
    boot_s: float = BOOT_S
    lanes: float = 1.0
    job_s: float = 60.0
    waiting: int = 0
    marks: tuple[str, ...] = ()

    def ahead(self, rank: str) -> int:
        """How many of those who wait stand before this rank, about."""
        if not self.marks:
            return 0
        step = self.waiting / len(self.marks)
        return min(self.waiting, math.ceil(bisect_left(self.marks, rank[:MARK]) * step))

    def wait_s(self, rank: str, reservation: Reservation, now: float, beside: int = 0) -> float | None:
        """How long until a job begins; None where no host may be had. `beside`: how many stand before it that the pass did not see."""
        ahead = self.ahead(rank) + beside
        cpu, memory_mib, slots = self.room
        fits = reservation.cpu <= cpu and reservation.memory_mib <= memory_mib and reservation.slots <= slots
        if not ahead and fits:
            return WARM_S
        if ahead < self.coming:
            return self.boot_s
        if self.opens_at is None:
            return None
        opens_s = max(0.0, self.opens_at - now)
        begins_s = opens_s + self.boot_s if opens_s else 0.0
        rounds = (ahead - self.coming + 1) / max(1.0, self.lanes)
        return begins_s + max(WARM_S, rounds * self.job_s)


def marks_of(ranks: Iterable[str]) -> tuple[str, ...]:
    """At most `MARKS_MAX` of them, evenly apart, in order: each the last of its share."""
    ordered = sorted(rank[:MARK] for rank in ranks)
    count = min(MARKS_MAX, len(ordered))
    return tuple(ordered[(number + 1) * len(ordered) // count - 1] for number in range(count))
