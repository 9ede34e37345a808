"""How far a job says that it is, and what it has kept for its next attempt: what a `progress` ping changes of it.

Pings come twice, late and out of order. Of what a command says of itself only what its present attempt says counts, and nothing older than
what is known; a checkpoint counts whenever it is heard of, as long as the job has not ended: it may come from a host that is no more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

KEPT_MAX = 2  # the newest, and the one before it, should that be broken
NOTE_MAX = 200  # characters
PROBLEM_MAX = 500
SAME_S = 5.0  # clocks are not better than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A checkpoint: the object `key` in the stage's bucket, made by `attempt` at `at`."""

    attempt: int
    key: str
    bytes: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What `attempt` said last. `moved_at`: when it last said something new, or began; `stalled_at`: since when it is told as stalled;
    `problem`: why nothing is kept of it; `heard_at`: of the ping that changed any of this. `kept`: of all attempts, the newest first."""

    attempt: int = 0
    percent: float | None = None
    note: str = ""
    moved_at: float | None = None
    stalled_at: float | None = None
    problem: str = ""
    heard_at: float = 0.0
    kept: tuple[Kept, ...] = ()

    @property
    def told(self) -> bool:
        """Whether it has said how far it is."""
        return self.percent is not None or bool(self.note)

    @property
    def words(self) -> str:
        """`42 %: reading`; "" where it has told nothing."""
        percent = "" if self.percent is None else f"{self.percent:.4g} %"
        return ": ".join(filter(None, (percent, self.note)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a ping says. `moved_s`: for how long it has said nothing new, at `at`; `broken`: the key of a checkpoint that its attempt was
    given, and could not go on from."""

    attempt: int
    at: float
    percent: float | None = None
    note: str = ""
    moved_s: float = 0.0
    stalled: bool = False
    problem: str = ""
    kept: Kept | None = None
    broken: str = ""

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it that anybody would keep."""
        return self.percent is None and not (self.note or self.stalled or self.problem or self.kept or self.broken)


def heard(known: Progress, said: Said, *, current: bool) -> Progress:
    """What is known after `said`. `current`: it is of the attempt that the job is at, on the host where it is."""
    kept = _with(known.kept, said.kept)
    if current and said.broken:
        kept = tuple(one for one in kept if one.key != said.broken)
    if not current or said.attempt < known.attempt:
        return replace(known, kept=kept)
    if said.attempt > known.attempt:
        known = Progress(attempt=said.attempt)
    elif said.at < known.heard_at:
        return replace(known, kept=kept)
    moved_at = said.at - max(0.0, said.moved_s)
    same = (said.percent, said.note[:NOTE_MAX]) == (known.percent, known.note) and known.moved_at is not None
    if same and known.moved_at is not None and abs(moved_at - known.moved_at) < SAME_S:
        moved_at = known.moved_at
    stalled_at = (known.stalled_at or said.at) if said.stalled else None
    now = Progress(
        attempt=said.attempt,
        percent=said.percent,
        note=said.note[:NOTE_MAX],
        moved_at=moved_at,
        stalled_at=stalled_at,
        problem=said.problem[:PROBLEM_MAX],
        heard_at=known.heard_at,
        kept=kept,
    )
    return now if now == replace(known, kept=kept) == known else replace(now, heard_at=said.at)


def dropped(before: Progress, said: Said, now: Progress) -> list[str]:
    """Keys of checkpoints that no attempt will ever be given any more."""
    there = {kept.key for kept in now.kept}
    known = (*before.kept, *((said.kept,) if said.kept else ()))
    return [key for key in dict.fromkeys(kept.key for kept in known) if key not in there]


def _with(kept: tuple[Kept, ...], one: Kept | None) -> tuple[Kept, ...]:
    if one is None or any(one.key == known.key for known in kept):
        return kept
    return tuple(sorted((*kept, one), key=lambda k: (k.attempt, k.at, k.key), reverse=True)[:KEPT_MAX])
